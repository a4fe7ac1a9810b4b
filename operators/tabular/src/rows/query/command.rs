//! `Command`: runs an external program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use arrow::array::{Array, RecordBatch, RecordBatchReader};
use arrow::compute::cast;
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::declared_type::data_type;
use towline_api::{
    Artifact, Code, Column, Context, DatasetPort, DatasetType, Describe, Form, Inputs, Many, Named, NodeType, Operator,
    OperatorError, Output, Outside, Port, Problem, Purity, Result, Schema, TableFile, Task, TaskResult, TypeContext,
};
use towline_tables::TableWriter;
use towline_tables::sql_planning::duplicates;

/// Runs an external program that reads and writes Parquet files, or Arrow IPC files with `format: arrow`.
///
/// The program is started without a shell in the working directory of the run. The environment variable `TOWLINE_INPUT`
/// names the folder with the inputs, `<name>/<split>.parquet`; the program writes `<split>.parquet` for every output
/// split to the folder named by `TOWLINE_OUTPUT` (`.arrow` with `format: arrow`). It sees `PATH`, `HOME`, `LANG` and
/// the variables in `environment` only. If the run is stopped, the program and its child processes are killed. The
/// command, the content of `files` and the values of `environment` are part of the node's fingerprint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and arguments: `[python3, scripts/clean.py]`.
    pub command: Vec<String>,
    /// Output columns with their types (`int64`, `int32`, `float64`, `float32`, `string`, `bool`, `date`, or an Arrow
    /// type): `{ user_id: int64, price: float64 }`. The node fails if the program writes other columns.
    pub schema: BTreeMap<String, String>,
    /// File format: `parquet`, or `arrow` for uncompressed Arrow IPC (Feather) files.
    #[serde(default)]
    pub format: Format,
    /// Output splits; those of the first input by default.
    #[serde(default)]
    pub splits: Vec<String>,
    /// Files that the program depends on, for example its source: `[scripts/clean.py]`. If one changes, the node runs
    /// again.
    #[serde(default)]
    pub files: Vec<String>,
    /// Environment variables to pass to the program, for example `[TZ]`.
    #[serde(default)]
    pub environment: Vec<String>,
}

/// File format of inputs and outputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Parquet files.
    #[default]
    Parquet,
    /// Uncompressed Arrow IPC files.
    Arrow,
}

impl Format {
    fn file(self, split: &str) -> String {
        match self {
            Format::Parquet => format!("{split}.parquet"),
            Format::Arrow => format!("{split}.arrow"),
        }
    }

    /// Makes a stored table available to the program.
    fn hand_over(self, table: &TableFile, path: &Path) -> Result<()> {
        let fail = OperatorError::io(path);
        match self {
            Format::Parquet => std::os::unix::fs::symlink(&table.path, path).map_err(fail),
            Format::Arrow => {
                let batches = table.batches(None)?;
                let file = BufWriter::new(File::create(path).map_err(fail)?);
                let mut writer = FileWriter::try_new(file, &batches.schema())?;
                for batch in batches {
                    writer.write(&batch?)?;
                }
                Ok(writer.finish()?)
            }
        }
    }

    /// Reads the batches of an output file.
    fn read(self, path: &Path) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>> {
        Ok(match self {
            Format::Parquet => {
                let path = path.to_owned();
                Box::new(TableFile { path, rows: 0 }.batches(None)?)
            }
            Format::Arrow => {
                let file = File::open(path).map_err(OperatorError::io(path))?;
                let reader = FileReader::try_new(BufReader::new(file), None).map_err(|error| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    OperatorError::invalid(format!("{name}: not a file of Arrow IPC: {error}"))
                })?;
                Box::new(reader)
            }
        })
    }
}

impl Command {
    fn schema(&self) -> Schema {
        let column = |(name, word): (&String, &String)| Some(Column::new(name, data_type(word)?, true));
        Schema {
            columns: self.schema.iter().filter_map(column).collect(),
        }
    }

    fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

const INPUTS: DatasetPort<Many> = DatasetPort::many("inputs", "What the program reads, by name.").named();

impl Describe for Command {
    const NAME: &'static str = "Command";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUTS.port()];
    const EXAMPLE: &'static str = "op: Command\ninputs: { clicks: clicks }\nwith:\n  command: [python3, scripts/clean.py]\n  \
                                   files: [scripts/clean.py]\n  schema: { user_id: int64, item_id: int64 }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.command.is_empty() {
            problems.push(Problem::new(Code::BadConfig, "`command` is empty").at("command"));
        }
        if self.schema.is_empty() {
            problems.push(Problem::new(Code::BadConfig, "`schema` is empty").at("schema"));
        }
        for (column, word) in self.schema.iter().filter(|(_, word)| data_type(word).is_none()) {
            let message = format!("`{word}`, declared for column `{column}`, is not a type");
            problems.push(Problem::new(Code::BadConfig, message).at("schema"));
        }
        problems.extend(
            duplicates(self.splits.iter().map(String::as_str))
                .into_iter()
                .map(|problem| problem.at("splits")),
        );
        problems
    }
}

impl Operator for Command {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let connected = INPUTS.input_types(inputs)?;
        let splits = match connected.first() {
            _ if !self.splits.is_empty() => self.splits.clone(),
            Some(first) => first.value.splits.clone(),
            None => return Err(vec![Problem::new(Code::BadInput, "nothing is connected to `inputs`")]),
        };
        let gone = self
            .files
            .iter()
            .filter(|path| !context.offline && !Path::new(path).is_file());
        let problems: Vec<Problem> = gone
            .map(|path| Problem::new(Code::BadSource, format!("there is no file `{path}`")).at("files"))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(NodeType::Dataset(DatasetType {
            schema: self.schema(),
            splits,
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }

    fn outside(&self) -> Result<Outside> {
        Ok(Outside {
            files: self.files.iter().map(PathBuf::from).collect(),
            variables: self.environment.clone(),
        })
    }
}

impl Task for Command {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let (input, output) = (context.temp_file("input"), context.temp_file("output"));
        let mut splits = self.splits.clone();
        for Named { label, value: dataset } in INPUTS.files(inputs)? {
            let folder = input.join(label);
            std::fs::create_dir_all(&folder).map_err(OperatorError::io(&folder))?;
            for (name, table) in &dataset.splits {
                context.cancel.check()?;
                self.format.hand_over(table, &folder.join(self.format.file(name)))?;
            }
            if splits.is_empty() {
                splits = dataset.splits.iter().map(|(name, _)| name.clone()).collect();
            }
        }
        std::fs::create_dir_all(&output).map_err(OperatorError::io(&output))?;
        self.start(&input, &output, context)?;
        let schema = self.schema();
        let mut written = Vec::new();
        for name in splits {
            let file = self.format.file(&name);
            let found = output.join(&file);
            if !found.is_file() {
                let message = format!("`{}` did not write {file} into TOWLINE_OUTPUT", self.program());
                return Err(OperatorError::invalid(message));
            }
            let path = context.temp_file(&format!("{name}.parquet"));
            conform(self.format.read(&found)?, &file, &path, &schema)?;
            written.push((name, path));
        }
        Ok(Output::new(TaskResult::Dataset {
            schema,
            splits: written,
            vocabularies: BTreeMap::new(),
        }))
    }
}

impl Command {
    fn start(&self, input: &Path, output: &Path, context: &Context) -> Result<()> {
        let said = context.temp_file("stderr");
        let log = std::fs::File::create(&said).map_err(OperatorError::io(&said))?;
        let mut process = Process::new(self.program());
        process
            .args(self.command.iter().skip(1))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        process.env("TOWLINE_INPUT", input).env("TOWLINE_OUTPUT", output);
        for name in ["PATH", "HOME", "LANG"]
            .into_iter()
            .chain(self.environment.iter().map(String::as_str))
        {
            if let Some(value) = std::env::var_os(name) {
                process.env(name, value);
            }
        }
        // A process group of its own, so that child processes can be killed with it.
        process.process_group(0);
        let mut child = process.spawn().map_err(OperatorError::io(self.program()))?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(OperatorError::io(self.program()))? {
                break status;
            }
            if context.cancel.is_cancelled() {
                stop(&mut child);
                return Err(OperatorError::Cancelled);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        if status.success() {
            return Ok(());
        }
        let said = std::fs::read_to_string(&said).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        Err(OperatorError::transient(format!(
            "`{}` failed with {status}; the end of its output:\n{last}",
            self.program()
        )))
    }
}

/// Kills a program and its child processes.
fn stop(child: &mut Child) {
    // The program may have exited already; after the wait it is gone in any case.
    if let Ok(id) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Writes batches with the declared schema; an error tells how the file deviates from it.
fn conform(
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    file: &str,
    path: &Path,
    schema: &Schema,
) -> Result<()> {
    let arrow = schema.to_arrow();
    let mut writer = TableWriter::create(path, arrow.clone())?;
    for batch in batches {
        let batch = batch?;
        let column = |column: &Column| {
            let name = &column.name;
            let array = batch
                .column_by_name(name)
                .ok_or_else(|| OperatorError::invalid(format!("{file}: there is no column `{name}`")))?;
            let wide = array.data_type() == &column.data_type;
            let same_kind = array.data_type().is_numeric() == column.data_type.is_numeric();
            let out = cast(array, &column.data_type)?;
            if !wide && (!same_kind || out.null_count() > array.null_count()) {
                let message = format!("column `{name}` holds {}, not {}", array.data_type(), column.data_type);
                return Err(OperatorError::invalid(message));
            }
            Ok(out)
        };
        let columns = schema.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        writer.write(&RecordBatch::try_new(arrow.clone(), columns)?)?;
    }
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use serde_json::{Value, json};

    use super::*;
    use crate::harness::{Data, codes, run, try_run};

    fn shell(script: &str) -> Value {
        json!({"command": ["sh", "-c", script], "schema": {"x": "int64"}})
    }

    fn data() -> Data {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        Data::of([("x", ints)])
    }

    #[test]
    fn files_go_in_and_come_out() {
        let copy = shell("cp \"$TOWLINE_INPUT/clicks/train.parquet\" \"$TOWLINE_OUTPUT/train.parquet\"");
        assert_eq!(run::<Command>(copy, &[("clicks", data())]).rows("train"), "1; 2");
    }

    #[test]
    fn arrow_files_go_in_and_come_out() {
        let mut copy = shell("cp \"$TOWLINE_INPUT/clicks/train.arrow\" \"$TOWLINE_OUTPUT/train.arrow\"");
        copy["format"] = json!("arrow");
        assert_eq!(
            run::<Command>(copy.clone(), &[("clicks", data())]).rows("train"),
            "1; 2"
        );
        copy["command"][2] = json!("echo no table > \"$TOWLINE_OUTPUT/train.arrow\"");
        let refused = try_run::<Command>(copy, &[("clicks", data())]).err().unwrap();
        assert!(refused.contains("train.arrow: not a file of Arrow IPC"), "{refused}");
    }

    #[test]
    fn what_went_wrong_is_said_in_the_programs_words() {
        let error = |script: &str| try_run::<Command>(shell(script), &[("clicks", data())]).err().unwrap();
        let failed = error("echo no such thing >&2; exit 3");
        assert!(failed.contains("no such thing") && failed.contains('3'), "{failed}");
        assert!(error("true").contains("did not write train.parquet"));
        let mut other = shell("cp \"$TOWLINE_INPUT/clicks/train.parquet\" \"$TOWLINE_OUTPUT/train.parquet\"");
        other["schema"] = json!({"y": "string"});
        let missing = try_run::<Command>(other, &[("clicks", data())]).err().unwrap();
        assert!(missing.contains("`y`"), "{missing}");
        assert!(
            try_run::<Command>(
                json!({"command": ["/no/such/program"], "schema": {"x": "int64"}}),
                &[("c", data())]
            )
            .is_err()
        );
    }

    #[test]
    fn what_it_depends_on_is_known_beforehand() {
        let config = json!({"command": ["true"], "schema": {"x": "int64"}, "files": ["no.py"]});
        assert_eq!(codes::<Command>(config, &[("c", data())]), ["bad-source"]);
        let config = json!({"command": ["true"], "schema": {"x": "what"}});
        assert_eq!(codes::<Command>(config, &[("c", data())]), ["bad-config"]);
        let command = Command {
            command: vec!["true".into()],
            schema: BTreeMap::new(),
            format: Format::Parquet,
            splits: Vec::new(),
            files: vec!["a.py".into()],
            environment: vec!["LEVEL".into()],
        };
        let outside = command.outside().unwrap();
        assert_eq!(
            (outside.files, outside.variables),
            (vec![PathBuf::from("a.py")], vec!["LEVEL".to_owned()])
        );
    }
}
