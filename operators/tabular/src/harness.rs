//! Test harness: runs one operator like the engine does (output type, fit on one split, apply to every split).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{SessionConfig, SessionContext};
use serde_json::Value;

use towline_api::{
    Artifact, Cancel, Context, DatasetFiles, DatasetType, Describe, Descriptor, FitContext, Form, Input, Inputs,
    LazyDataset, LazyTable, NodeType, Output, Problem, ProgressSink, Schema, State, StateTable, Stateful, TableContext,
    TableFile, Tag, TaskResult, TypeContext, Vocabulary,
};
use towline_tables::TableWriter;

/// The dataset connected to a port.
#[derive(Clone)]
pub(crate) struct Data {
    pub(crate) schema: Schema,
    pub(crate) splits: Vec<(String, Vec<RecordBatch>)>,
    pub(crate) vocabularies: BTreeMap<String, Vocabulary>,
}

impl Data {
    /// Nullable columns in one split `train`.
    pub(crate) fn of<const N: usize>(columns: [(&str, ArrayRef); N]) -> Self {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        Data::batches("train", vec![batch])
    }

    pub(crate) fn batches(split: &str, batches: Vec<RecordBatch>) -> Self {
        Data {
            schema: Schema::from_arrow(&batches[0].schema()),
            splits: vec![(split.to_owned(), batches)],
            vocabularies: BTreeMap::new(),
        }
    }

    /// Adds a split; its columns may have other types, to test that.
    pub(crate) fn and<const N: usize>(mut self, split: &str, columns: [(&str, ArrayRef); N]) -> Self {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        self.splits.push((split.to_owned(), vec![batch]));
        self
    }

    pub(crate) fn tagged(mut self, column: &str, tags: &[Tag]) -> Self {
        let column = self.schema.columns.iter_mut().find(|c| c.name == column).unwrap();
        column.tags.extend(tags);
        self
    }

    fn lazy(&self, session: &SessionContext) -> LazyDataset {
        let table = |batches: &Vec<RecordBatch>| LazyTable::from_frame(session.read_batches(batches.clone()).unwrap());
        LazyDataset {
            schema: self.schema.clone(),
            splits: self
                .splits
                .iter()
                .map(|(name, batches)| (name.clone(), table(batches)))
                .collect(),
            vocabularies: self.vocabularies.clone(),
        }
    }

    fn node_type(&self) -> NodeType {
        NodeType::Dataset(DatasetType {
            schema: self.schema.clone(),
            splits: self.splits.iter().map(|(name, _)| name.clone()).collect(),
        })
    }
}

/// The result of an operator.
pub(crate) struct Ran {
    /// The columns, with facts found by the fit.
    pub(crate) schema: Schema,
    /// The splits.
    pub(crate) splits: Vec<(String, RecordBatch)>,
    pub(crate) vocabularies: BTreeMap<String, Vocabulary>,
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Keeps the files of vocabularies.
    pub(crate) folder: tempfile::TempDir,
}

impl Ran {
    /// A column of the split `train`.
    pub(crate) fn column(&self, name: &str) -> ArrayRef {
        self.splits[0].1.column_by_name(name).unwrap().clone()
    }

    /// The rows of a split as text: values separated by spaces, rows by semicolons.
    pub(crate) fn rows(&self, split: &str) -> String {
        text(&self.splits.iter().find(|(name, _)| name == split).unwrap().1)
    }

    /// The tags of a column.
    pub(crate) fn tags(&self, column: &str) -> Vec<Tag> {
        self.schema.get(column).unwrap().tags.iter().copied().collect()
    }

    /// The vocabulary of an encoded column.
    pub(crate) fn vocabulary(&self, column: &str) -> &Vocabulary {
        let domain = self.schema.get(column).unwrap().domain.as_ref().unwrap();
        &self.vocabularies[domain.vocabulary.as_ref().unwrap()]
    }

    /// The output as another operator's input.
    pub(crate) fn data(&self) -> Data {
        Data {
            schema: self.schema.clone(),
            splits: self
                .splits
                .iter()
                .map(|(name, batch)| (name.clone(), vec![batch.clone()]))
                .collect(),
            vocabularies: self.vocabularies.clone(),
        }
    }
}

pub(crate) fn text(batch: &RecordBatch) -> String {
    let text = pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string();
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(1).map(cells);
    rows.collect::<Vec<_>>().join("; ")
}

struct Silent;

impl ProgressSink for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// The engine's session settings.
fn session() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(1).with_batch_size(8192);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    SessionContext::new_with_config(config)
}

/// Runs the operator on its inputs (by port, or by name on a port with many inputs).
pub(crate) fn run<T: Describe>(config: Value, inputs: &[(&str, Data)]) -> Ran {
    match try_run::<T>(config, inputs) {
        Ok(ran) => ran,
        Err(error) => panic!("{error}"),
    }
}

/// The codes of the problems found without data.
pub(crate) fn codes<T: Describe>(config: Value, inputs: &[(&str, Data)]) -> Vec<&'static str> {
    let problems = typed::<T>(config, inputs).map(|_| ()).expect_err("something is wrong");
    problems.into_iter().map(|problem| problem.code.as_str()).collect()
}

fn typed<T: Describe>(config: Value, inputs: &[(&str, Data)]) -> Result<(towline_api::Built, NodeType), Vec<Problem>> {
    let built = Descriptor::of::<T>().build(&config)?;
    let types = labelled::<T, _>(inputs, Data::node_type);
    let output = built.operator.output_type(
        &types,
        &TypeContext {
            session: session(),
            offline: false,
        },
    )?;
    Ok((built, output))
}

fn labelled<T: Describe, V>(inputs: &[(&str, Data)], value: impl Fn(&Data) -> V) -> Inputs<V> {
    let port = |name: &str| {
        T::PORTS
            .iter()
            .find(|port| port.name == name)
            .unwrap_or(&T::PORTS[0])
            .name
    };
    let input = |(name, data): &(&str, Data)| Input {
        port: port(name),
        label: (*name).to_owned(),
        value: value(data),
    };
    Inputs(inputs.iter().map(input).collect())
}

/// Like [`run`], or the text of the first problem or error.
pub(crate) fn try_run<T: Describe>(config: Value, inputs: &[(&str, Data)]) -> Result<Ran, String> {
    let first = |problems: Vec<Problem>| format!("{}: {}", problems[0].code, problems[0].message);
    let (built, output) = typed::<T>(config, inputs).map_err(first)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    let lazy = labelled::<T, _>(inputs, |data| data.lazy(&session));
    let mut ran = Ran {
        schema: Schema::default(),
        splits: Vec::new(),
        vocabularies: inputs.iter().flat_map(|(_, data)| data.vocabularies.clone()).collect(),
        metrics: BTreeMap::new(),
        folder,
    };
    if let NodeType::Dataset(dataset) = &output {
        ran.schema = dataset.schema.clone();
    }
    let context = TableContext {
        session: session.clone(),
        runtime: runtime.handle().clone(),
    };
    let frames = match built.operator.form() {
        Form::Source(source) => source.read(&context).map_err(|error| error.to_string())?,
        Form::Table(table) => table.apply(&lazy, &context).map_err(|error| error.to_string())?,
        Form::Columns(columns) => {
            let splits = lazy.0[0].value.splits.iter().map(|(name, table)| {
                let columns = columns.project(&[table.columns.as_slice()])?;
                let base = table.base.clone();
                Ok((name.clone(), LazyTable { base, columns }.to_frame()?))
            });
            splits
                .collect::<towline_api::Result<_>>()
                .map_err(|error| error.to_string())?
        }
        Form::Stateful(stateful) => {
            let fit = |ran: &mut Ran| {
                let state = fit(stateful, &lazy, ran, &runtime)?;
                ran.schema = stateful.refine(&state, &ran.schema)?;
                let input = &lazy.0[0].value;
                let splits = input.splits.iter().map(|(name, table)| {
                    let columns = stateful.project(&state, &input.schema, name, &table.columns)?;
                    let base = table.base.clone();
                    Ok((name.clone(), LazyTable { base, columns }.to_frame()?))
                });
                splits.collect::<towline_api::Result<Vec<_>>>()
            };
            fit(&mut ran).map_err(|error| error.to_string())?
        }
        form @ (Form::Task(_) | Form::Sink(_)) => {
            let artifacts = labelled::<T, _>(inputs, |data| {
                Artifact::Dataset(files(data, &ran.folder.path().join("in")))
            });
            let temp = ran.folder.path().join("task");
            std::fs::create_dir_all(&temp).unwrap();
            let context = Context {
                progress: Arc::new(Silent),
                cancel: Cancel::default(),
                scratch: temp.join("scratch"),
                temp,
                session,
                runtime: runtime.handle().clone(),
                threads: 2,
            };
            let output = match form {
                Form::Sink(sink) => sink.run(&artifacts, &context),
                Form::Task(task) => task.run(&artifacts, &context),
                _ => unreachable!("the arm is for these two"),
            };
            let Output { result, metrics, .. } = output.map_err(|error| error.to_string())?;
            ran.metrics = metrics;
            if let TaskResult::Dataset { schema, splits, .. } = result {
                assert_eq!(
                    schema.names().collect::<Vec<_>>(),
                    ran.schema.names().collect::<Vec<_>>()
                );
                let read = |path: PathBuf| {
                    TableFile { path, rows: 0 }
                        .batches(None)
                        .unwrap()
                        .map(Result::unwrap)
                        .collect()
                };
                for (name, path) in splits {
                    let batches: Vec<RecordBatch> = read(path);
                    ran.splits
                        .push((name, concat_batches(&ran.schema.to_arrow(), &batches).unwrap()));
                }
            }
            return Ok(ran);
        }
    };
    for (name, frame) in frames {
        let arrow = ran.schema.to_arrow();
        let types = |schema: &arrow::datatypes::Schema| {
            schema
                .fields()
                .iter()
                .map(|f| (f.name().clone(), f.data_type().clone()))
                .collect::<Vec<(String, DataType)>>()
        };
        assert_eq!(
            types(&arrow),
            types(frame.schema().as_arrow()),
            "the type that was promised"
        );
        let batches = runtime.block_on(frame.collect()).map_err(|error| error.to_string())?;
        let columns = |batch: &RecordBatch| RecordBatch::try_new(arrow.clone(), batch.columns().to_vec()).unwrap();
        let batches: Vec<RecordBatch> = batches.iter().map(columns).collect();
        ran.splits.push((name, concat_batches(&arrow, &batches).unwrap()));
    }
    Ok(ran)
}

fn fit(
    stateful: &dyn Stateful,
    inputs: &Inputs<LazyDataset>,
    ran: &mut Ran,
    runtime: &tokio::runtime::Runtime,
) -> towline_api::Result<State> {
    let input = &inputs.0[0].value;
    let context = FitContext {
        inputs,
        temp: ran.folder.path(),
        threads: 2,
    };
    let mut fitter = stateful.fitter(&input.schema, &context)?;
    let names = stateful.fit_columns(&input.schema);
    let frame = input.split(stateful.fit_on()).unwrap().to_frame()?;
    for batch in runtime.block_on(frame.collect())? {
        let places: Vec<usize> = names
            .iter()
            .map(|name| batch.schema().index_of(name).unwrap())
            .collect();
        fitter.update(&batch.project(&places)?)?;
    }
    let output = fitter.finish(ran.folder.path())?;
    let mut state = State {
        facts: output.facts,
        ..State::default()
    };
    for (name, path) in output.tables {
        let digest = blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string();
        let vocabulary = Vocabulary::at(&path);
        ran.vocabularies.insert(digest.clone(), vocabulary.clone());
        state.tables.insert(name, StateTable { digest, vocabulary });
    }
    Ok(state)
}

fn files(data: &Data, folder: &std::path::Path) -> DatasetFiles {
    std::fs::create_dir_all(folder).unwrap();
    let folder = tempfile::tempdir_in(folder).unwrap().keep();
    let splits = data.splits.iter().map(|(name, batches)| {
        let mut writer = TableWriter::create(&folder.join(format!("{name}.parquet")), data.schema.to_arrow()).unwrap();
        for batch in batches {
            writer.write(batch).unwrap();
        }
        (name.clone(), writer.finish().unwrap())
    });
    DatasetFiles {
        schema: data.schema.clone(),
        splits: splits.collect(),
        vocabularies: data.vocabularies.clone(),
    }
}
