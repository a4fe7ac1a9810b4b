//! `ModelExport`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::retrieval_type::RetrievalType;
use crate::torch_worker::{ColumnShape, ScriptRequest, WorkerProgram};
use crate::towers::Side;
use crate::towers::tower_shape::{Architecture, KIND, WEIGHTS};
use towline_api::{
    Artifact, Context, Describe, Form, Inputs, ModelFiles, ModelPort, NodeType, Operator, OperatorError, Output, Port,
    Problem, Purity, Receipt, Report, Result, Schema, Sink, TaskResult, TypeContext,
};

/// Writes a model into a folder, for use outside Towline.
///
/// For a model of embeddings `weights.safetensors` holds `query.embedding.<column>` [ids, dim], `query.layers.<i>.weight`
/// [outputs, inputs] and `.bias` [outputs], `query.attention.<column>` [dim] of lists with attention pooling, and the
/// same under `item.`; where a column shares the table of another one, `table` in `model.json` names it. For `Ease` and
/// `ItemKNN` `item_weights.safetensors` holds their weights and the users' histories. `items.parquet` is the catalogue with
/// encoded columns; `vocabularies/` maps ids to values; `model.json` describes all of it.
///
/// `query_tower.pt` is the query tower as TorchScript, which the worker program `towline-torch` writes. It takes one tensor per
/// column, in the order of `model.json`: int64 [batch], or [batch, length] padded with 0, for the `embeddings`, then
/// float32 [batch], or [batch, width], for the `numbers`.
/// `examples/python/tower.py` scores with the weights in Python.
///
/// The folder is replaced as a whole, by renaming: a reader never sees a mixture of the old and the new model.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelExport {
    /// The folder to write; an earlier export in it is replaced. Any other folder that is not empty is refused.
    pub path: PathBuf,
    /// Whether to write `query_tower.pt`, which needs the program `towline-torch`.
    #[serde(default = "default_true", skip_serializing_if = "is_true")]
    pub torchscript: bool,
}

fn default_true() -> bool {
    true
}

/// The default is no part of the fingerprint, which is older than the parameter.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

const DESCRIPTION: &str = "model.json";
const SCRIPT: &str = "query_tower.pt";

const INPUT: ModelPort = ModelPort::required("input", "The model to write.");

impl Describe for ModelExport {
    const NAME: &'static str = "ModelExport";
    const CODE_VERSION: u32 = 4;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: ModelExport\ninput: model\nwith: { path: out/model }\n";
}

impl Operator for ModelExport {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        RetrievalType::at(INPUT, inputs).map(|_| NodeType::Receipt)
    }

    fn form(&self) -> Form<'_> {
        Form::Sink(self)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(|_| ()).map_err(OperatorError::io(from))
}

fn columns(schema: &Schema, vocabularies: &BTreeMap<&str, String>) -> Value {
    let column = |column: &towline_api::Column| {
        let digest = column.domain.as_ref().and_then(|domain| domain.vocabulary.as_deref());
        json!({
            "name": column.name,
            "list": column.is_list(),
            "ids": column.domain.as_ref().and_then(|domain| domain.size),
            "vocabulary": digest.and_then(|digest| vocabularies.get(digest)),
        })
    };
    schema.columns.iter().map(column).collect()
}

/// Writes the query tower of a two-tower model as TorchScript; `false` for other models.
fn write_script(folder: &Path, model: &ModelFiles, context: &Context) -> Result<bool> {
    let Some(weights) = model.files.get(WEIGHTS).filter(|_| model.description["kind"] == KIND) else {
        return Ok(false);
    };
    let unknown = |error: serde_json::Error| OperatorError::invalid(format!("not a two-tower model: {error}"));
    let architecture: Architecture = serde_json::from_value(model.description.clone()).map_err(unknown)?;
    let model_type = RetrievalType::of(&model.model_type).map_err(|problem| OperatorError::invalid(problem.message))?;
    let query = &model_type.query;
    let shape = |(column, ..): (&str, usize, usize)| match query.get(column) {
        Some(column) if column.is_list() => ColumnShape::Lists,
        _ => ColumnShape::Single,
    };
    let request = ScriptRequest {
        description: model.description.clone(),
        weights: weights.clone(),
        side: Side::Query,
        columns: architecture.query.parts().into_iter().map(shape).collect(),
        path: folder.join(SCRIPT),
    };
    WorkerProgram::find("`torchscript: true` (the default)")?.write_script(request, context)?;
    Ok(true)
}

/// Fills `folder`; returns the names of its files.
fn fill(folder: &Path, model: &ModelFiles, torchscript: bool, context: &Context) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (name, source) in &model.files {
        copy(source, &folder.join(name))?;
        names.push(name.clone());
    }
    let vocabulary_folder = folder.join("vocabularies");
    fs::create_dir(&vocabulary_folder).map_err(OperatorError::io(&vocabulary_folder))?;
    let mut vocabularies = BTreeMap::new();
    for (index, (digest, vocabulary)) in model.vocabularies.iter().enumerate() {
        let name = format!("vocabularies/{index}.parquet");
        copy(vocabulary.path(), &folder.join(&name))?;
        vocabularies.insert(digest.as_str(), name.clone());
        names.push(name);
    }
    context.cancel.check()?;
    if torchscript && write_script(folder, model, context)? {
        names.push(SCRIPT.to_owned());
    }
    let model_type = RetrievalType::of(&model.model_type);
    let model_type = model_type.map_err(|problem| OperatorError::invalid(problem.message))?;
    let description = json!({
        "format": 1,
        "model": model.digest,
        "architecture": model.description,
        "user_id": model_type.user_id,
        "item_id": model_type.item_id,
        "query": columns(&model_type.query, &vocabularies),
        "item": columns(&model_type.item, &vocabularies),
    });
    let path = folder.join(DESCRIPTION);
    fs::write(&path, format!("{description:#}\n")).map_err(OperatorError::io(&path))?;
    names.push(DESCRIPTION.to_owned());
    Ok(names)
}

/// What is in a file or folder is on the disk afterwards.
fn sync(path: &Path) -> Result<()> {
    let file = fs::File::open(path);
    file.and_then(|file| file.sync_all()).map_err(OperatorError::io(path))
}

/// Puts `new` where `target` is; what was there goes away only afterwards. The two folders change places in one step,
/// so that a reader finds the one or the other at any time; only where the system cannot do that there is an instant
/// without either.
fn replace(new: &Path, target: &Path, spare: &Path) -> Result<()> {
    if !target.exists() {
        return fs::rename(new, target).map_err(OperatorError::io(target));
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    fs::rename(target, spare).map_err(OperatorError::io(target))?;
    if let Err(error) = fs::rename(new, target) {
        fs::rename(spare, target).map_err(OperatorError::io(target))?;
        return Err(OperatorError::io(target)(error));
    }
    Ok(())
}

impl Sink for ModelExport {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let model = INPUT.files(inputs)?;
        let target = std::path::absolute(&self.path).map_err(OperatorError::io(&self.path))?;
        let parent = target
            .parent()
            .ok_or_else(|| OperatorError::invalid("`path` must name a folder"))?;
        let occupied = fs::read_dir(&target).is_ok_and(|mut entries| entries.next().is_some());
        if (occupied && !target.join(DESCRIPTION).exists()) || target.is_file() {
            let text = format!("{}: holds something else than an exported model", target.display());
            return Err(OperatorError::invalid(text));
        }
        fs::create_dir_all(parent).map_err(OperatorError::io(parent))?;
        // On the file system of the target, so that it can be renamed into place; whatever is left in it goes away.
        let staging = tempfile::Builder::new()
            .prefix(".towline-")
            .tempdir_in(parent)
            .map_err(OperatorError::io(parent))?;
        let new = staging.path().join("new");
        fs::create_dir(&new).map_err(OperatorError::io(&new))?;
        let names = fill(&new, model, self.torchscript, context)?;
        for name in &names {
            sync(&new.join(name))?;
        }
        sync(&new.join("vocabularies"))?;
        sync(&new)?;
        replace(&new, &target, &staging.path().join("old"))?;
        sync(parent)?;
        let mut files = BTreeMap::new();
        for name in &names {
            let path = target.join(name);
            let size = fs::metadata(&path).map_err(OperatorError::io(&path))?.len();
            files.insert(path, size);
        }
        let facts = vec![("files".to_owned(), names.len().to_string())];
        let receipt = Receipt {
            target: self.path.display().to_string(),
            records: names.len() as u64,
            files,
            details: [("model".to_owned(), Value::String(model.digest.clone()))].into(),
        };
        let report = Report {
            facts,
            ..Report::default()
        };
        Ok(Output {
            result: TaskResult::Receipt(receipt),
            metrics: BTreeMap::new(),
            report,
        })
    }

    fn targets(&self) -> Vec<String> {
        vec![towline_api::target::path(&self.path)]
    }
}
