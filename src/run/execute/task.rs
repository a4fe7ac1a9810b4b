//! Tasks: training, encoding, evaluation.

use std::sync::Arc;

use towline_api::{Artifact, Context, Inputs, Output, TableFile, Task, TaskResult};

use crate::run::execute::{ExecContext, Produced, WorkOutput};
use crate::run::failure::Failure;

/// Runs a task.
pub(in crate::run) fn run(
    task: &dyn Task,
    inputs: &Inputs<Artifact>,
    context: &ExecContext<'_>,
) -> Result<WorkOutput, Failure> {
    work_output(task.run(inputs, &operator_context(context))?)
}

/// The output of an operator as work.
pub(super) fn work_output(output: Output) -> Result<WorkOutput, Failure> {
    let Output {
        result,
        metrics,
        report,
    } = output;
    Ok(WorkOutput {
        produced: produced(result)?,
        metrics,
        report,
    })
}

/// The context as operators see it.
pub(super) fn operator_context(context: &ExecContext<'_>) -> Context {
    Context {
        progress: Arc::clone(context.progress),
        cancel: context.stop.cancel.clone(),
        temp: context.temp.to_owned(),
        scratch: context.scratch.to_owned(),
        session: context.tables.session.clone(),
        runtime: context.tables.runtime.clone(),
        threads: context.threads,
    }
}

fn produced(result: TaskResult) -> Result<Produced, Failure> {
    Ok(match result {
        TaskResult::Dataset {
            schema,
            splits,
            vocabularies,
        } => {
            let mut files = Vec::new();
            for (name, path) in splits {
                let file = TableFile { path, rows: 0 };
                let rows = file.counted_rows()?;
                files.push((name, TableFile { rows, ..file }));
            }
            Produced::Dataset {
                schema,
                splits: files,
                vocabularies,
            }
        }
        TaskResult::Model {
            model_type,
            description,
            files,
            vocabularies,
        } => Produced::Model {
            model_type,
            description,
            files,
            vocabularies,
        },
        TaskResult::Metrics => Produced::Metrics,
        TaskResult::Receipt(receipt) => Produced::Receipt(receipt),
    })
}
