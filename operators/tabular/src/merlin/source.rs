//! `MerlinSource`: reads datasets of Merlin and NVTabular.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::merlin::feature::Feature;
use crate::merlin::{schema_json, schema_text};
use crate::source::parquet::ParquetSource;
use towline_api::{
    Code, Describe, Form, Inputs, NodeType, Operator, OperatorError, Port, Problem, Purity, Result, Schema, Source,
    TableContext, TypeContext, contradiction,
};

/// Reads Parquet files of Merlin or NVTabular, with the tags and domain sizes of their schema.
///
/// The schema is `.merlin/schema.json`, or else `schema.pbtxt`, in the folder of the first split, unless `schema` is
/// set. Tags that Towline does not support are ignored. To encode other rows with the same ids, pass the vocabularies
/// (`categories/unique.<column>.parquet`) to `Categorify`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MerlinSource {
    /// The folder with each split's files: `{ train: processed/train, valid: processed/valid }`.
    pub splits: BTreeMap<String, String>,
    /// Path of the schema, if it is not in the folder of the first split: a `.json` or `.pbtxt` file.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub schema: Option<String>,
}

impl MerlinSource {
    fn files_source(&self) -> ParquetSource {
        ParquetSource {
            path: None,
            splits: Some(self.splits.clone()),
            split: None,
            schema: None,
        }
    }

    /// The schema file.
    fn schema_file(&self) -> Result<PathBuf> {
        if let Some(path) = &self.schema {
            return Ok(PathBuf::from(path));
        }
        let first = self
            .splits
            .get("train")
            .or_else(|| self.splits.values().next())
            .map_or(".", String::as_str);
        let folder = Path::new(first);
        let folder = if folder.is_dir() {
            folder
        } else {
            folder.parent().unwrap_or(folder)
        };
        let places = [".merlin/towline.json", ".merlin/schema.json", "schema.pbtxt"].map(|name| folder.join(name));
        let found = places.into_iter().find(|path| path.is_file());
        found.ok_or_else(|| {
            let message = format!(
                "there is neither .merlin/schema.json nor schema.pbtxt in {}",
                folder.display()
            );
            OperatorError::invalid(message)
        })
    }

    /// Adds the information in the schema file to the columns of the Parquet files.
    fn described(&self, mut schema: Schema) -> Result<Schema> {
        let path = self.schema_file()?;
        let text = std::fs::read_to_string(&path).map_err(OperatorError::io(&path))?;
        let place = path.display().to_string();
        if path.file_name().is_some_and(|name| name == "towline.json") {
            let own: Schema =
                serde_json::from_str(&text).map_err(|error| OperatorError::invalid(format!("{place}: {error}")))?;
            let mut own = own.carried_to(schema.to_arrow().as_ref());
            // The vocabularies are stored elsewhere, so their digests are meaningless here.
            own.columns
                .iter_mut()
                .filter_map(|column| column.domain.as_mut())
                .for_each(|domain| domain.vocabulary = None);
            return Ok(own);
        }
        let json = path.extension().is_some_and(|extension| extension == "json");
        let features = if json {
            schema_json::read(&text, &place)?
        } else {
            schema_text::read(&text, &place)?
        };
        Feature::describe(&features, &mut schema);
        for column in &schema.columns {
            if let Some((a, b)) = contradiction(&column.tags) {
                let message = format!("{place}: `{}` has the contradictory tags {a} and {b}", column.name);
                return Err(OperatorError::invalid(message));
            }
        }
        Ok(schema)
    }
}

impl Describe for MerlinSource {
    const NAME: &'static str = "MerlinSource";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[];
    const EXAMPLE: &'static str =
        "op: MerlinSource\nwith: { splits: { train: processed/train, valid: processed/valid } }\n";

    fn check(&self) -> Vec<Problem> {
        self.files_source().check()
    }
}

impl Operator for MerlinSource {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        if context.offline {
            let message = "its columns are defined in Merlin's files, and --offline does not read files";
            return Err(vec![
                Problem::new(Code::BadSource, message).help("validate without --offline"),
            ]);
        }
        let NodeType::Dataset(mut dataset) = self.files_source().output_type(inputs, context)? else {
            return Err(vec![Problem::new(Code::BadSource, "the files have no columns")]);
        };
        let described = self.described(dataset.schema);
        dataset.schema =
            described.map_err(|error| vec![Problem::new(Code::BadSource, error.to_string()).at("splits")])?;
        Ok(NodeType::Dataset(dataset))
    }

    fn form(&self) -> Form<'_> {
        Form::Source(self)
    }
}

impl Source for MerlinSource {
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut files = self.files_source().files()?;
        files.push(("the schema".to_owned(), self.schema_file()?));
        Ok(files)
    }

    fn read(&self, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        self.files_source().read(context)
    }

    fn in_place(&self) -> bool {
        true
    }
}
