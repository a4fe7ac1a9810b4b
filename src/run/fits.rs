//! Fits: siblings that learn from the same rows share one scan.

use std::collections::BTreeMap;

use futures::StreamExt;
use towline_operators::contract::{
    FitContext, Fitter, Form, Inputs, LazyDataset, LazyTable, OperatorError, ProgressSink, State,
};

use super::reuse::{Claim, Made, Making, Piece, Role};
use super::runner::{Failure, Runner};
use super::value::{NodeValue, lazies};
use crate::plan::Origin;
use crate::store::{Content, Entry};

/// A fit that has to run.
struct Learner {
    node: usize,
    making: Making,
    fitter: Box<dyn Fitter>,
    columns: std::ops::Range<usize>,
    temp: tempfile::TempDir,
}

/// What a node would learn from, and the work that it is.
struct Lesson<'a> {
    lazy: &'a LazyDataset,
    inputs: &'a [NodeValue],
    piece: Piece,
}

/// What each node's fit came to.
pub(super) type Fitted = Vec<(usize, Result<(State, Origin), Failure>)>;

impl Runner {
    /// The states of nodes whose inputs are columns of the same rows. Those in the store are taken from there; the rest
    /// see every row of the split in one scan.
    pub(super) fn fit(&self, members: &[(usize, Vec<NodeValue>)], progress: &dyn ProgressSink) -> Fitted {
        let mut done: Fitted = Vec::new();
        let mut lessons: BTreeMap<String, Vec<Lesson<'_>>> = BTreeMap::new();
        for (node, inputs) in members {
            match self.lesson(*node, inputs) {
                Ok(lesson) => lessons.entry(lesson.piece.key()).or_default().push(lesson),
                Err(failure) => done.push((*node, Err(failure))),
            }
        }
        // Claims are made in the order of their keys, so that two runs never wait for each other. Nodes that would learn
        // the same are one claim.
        let mut learners = Vec::new();
        let mut followers = Vec::new();
        let mut scan: Option<LazyTable> = None;
        for mut same in lessons.into_values() {
            followers.extend(same.drain(1..).map(|lesson| lesson.piece));
            for lesson in same {
                let node = lesson.piece.node;
                match self.learner(lesson, &mut scan) {
                    Ok(Ok(entry)) => done.push((node, Ok(self.state(node, &entry)))),
                    Ok(Err(learner)) => learners.push(learner),
                    Err(failure) => done.push((node, Err(failure))),
                }
            }
        }
        self.learn(learners, scan, progress, &mut done);
        for piece in followers {
            let node = piece.node;
            let unlearnt = || Err(OperatorError::invalid("a node that learns the same did not finish").into());
            let entry = self.produce(piece, unlearnt);
            done.push((node, entry.map(|entry| self.state(node, &entry))));
        }
        done
    }

    fn learn(
        &self,
        mut learners: Vec<Learner>,
        scan: Option<LazyTable>,
        progress: &dyn ProgressSink,
        done: &mut Fitted,
    ) {
        match scan.map(|table| self.scan_for(&table, &mut learners, progress)) {
            Some(Err(failure)) => {
                let cancelled = matches!(failure, Failure::Operator(OperatorError::Cancelled));
                let error = || {
                    if cancelled {
                        OperatorError::Cancelled
                    } else {
                        OperatorError::invalid(failure.to_string())
                    }
                };
                done.extend(learners.iter().map(|learner| (learner.node, Err(error().into()))));
                return;
            }
            Some(Ok(failed)) => {
                for (node, failure) in failed {
                    learners.retain(|learner| learner.node != node);
                    done.push((node, Err(failure)));
                }
            }
            None => {}
        }
        done.extend(learners.into_iter().map(|learner| (learner.node, self.finish(learner))));
    }

    fn lesson<'a>(&self, node: usize, inputs: &'a [NodeValue]) -> Result<Lesson<'a>, Failure> {
        let Some(NodeValue::Dataset { lazy, .. }) = inputs.first() else {
            return Err(OperatorError::invalid("only a dataset can be learnt from").into());
        };
        let role = Role::Fit;
        let step = self.step(node, role.word(), inputs.iter().map(NodeValue::origin))?;
        let piece = Piece { node, role, step };
        Ok(Lesson { lazy, inputs, piece })
    }

    fn learner(
        &self,
        Lesson { lazy, inputs, piece }: Lesson<'_>,
        scan: &mut Option<LazyTable>,
    ) -> Result<Result<Entry, Learner>, Failure> {
        let node = piece.node;
        let Form::Stateful(stateful) = self.nodes[node].built.operator.form() else {
            return Err(OperatorError::invalid("this operator does not learn").into());
        };
        let making = match self.claim(piece)? {
            Claim::Done(entry) => return Ok(Ok(entry)),
            Claim::Make(making) => making,
        };
        let split = stateful.fit_on();
        let Some(table) = lazy.split(split) else {
            return Err(OperatorError::invalid(format!("there is no split `{split}` to fit on")).into());
        };
        let scan = scan.get_or_insert_with(|| LazyTable {
            base: table.base.clone(),
            columns: Vec::new(),
        });
        let start = scan.columns.len();
        for name in &stateful.fit_columns(&lazy.schema) {
            let Some(column) = table.columns.iter().find(|column| column.name == *name) else {
                return Err(OperatorError::invalid(format!("there is no column `{name}` to fit on")).into());
            };
            let mut column = column.clone();
            column.name = format!("{}", scan.columns.len());
            scan.columns.push(column);
        }
        let temp = self.store.temp_dir()?;
        let connected = Inputs(self.labelled(node, lazies(inputs).into_iter().cloned()));
        let context = FitContext {
            inputs: &connected,
            temp: temp.path(),
            threads: self.threads,
        };
        let fitter = stateful.fitter(&lazy.schema, &context)?;
        let columns = start..scan.columns.len();
        Ok(Err(Learner {
            node,
            making,
            fitter,
            columns,
            temp,
        }))
    }

    fn scan_for(
        &self,
        table: &LazyTable,
        learners: &mut [Learner],
        progress: &dyn ProgressSink,
    ) -> Result<Vec<(usize, Failure)>, Failure> {
        progress.begin("rows", None);
        let frame = table.to_frame()?;
        let mut failed: Vec<(usize, Failure)> = Vec::new();
        self.runtime.block_on(async {
            let mut stream = frame.execute_stream().await.map_err(OperatorError::from)?;
            while let Some(batch) = stream.next().await {
                self.cancel.check()?;
                let batch = batch.map_err(OperatorError::from)?;
                for learner in learners.iter_mut() {
                    if failed.iter().any(|(node, _)| *node == learner.node) {
                        continue;
                    }
                    let own: Vec<usize> = learner.columns.clone().collect();
                    let part = batch.project(&own).map_err(OperatorError::from)?;
                    if let Err(error) = learner.fitter.update(&part) {
                        failed.push((learner.node, error.into()));
                    }
                }
                progress.advance(batch.num_rows() as u64);
            }
            Ok::<_, Failure>(())
        })?;
        Ok(failed)
    }

    fn finish(&self, learner: Learner) -> Result<(State, Origin), Failure> {
        let node = learner.node;
        let output = learner.fitter.finish(learner.temp.path())?;
        let content = Content::State {
            tables: self.publish_files(output.tables)?,
            facts: output.facts,
        };
        let entry = self.publish(learner.making, Made::from(content))?;
        Ok(self.state(node, &entry))
    }

    fn state(&self, node: usize, entry: &Entry) -> (State, Origin) {
        let origin = Origin::stored(
            &format!("fit of {}", self.name(node)),
            &entry.content_digest(),
            None,
            None,
        );
        (self.store.state(entry), origin)
    }

    /// Whether a node learns, and from which rows: nodes with equal keys share a scan.
    pub(super) fn fit_key(&self, node: usize, inputs: &[NodeValue]) -> Option<(usize, Option<String>, String)> {
        let typed = &self.nodes[node];
        let Form::Stateful(stateful) = typed.built.operator.form() else {
            return None;
        };
        lazies(inputs).first()?;
        Some((typed.rows.node, typed.rows.split.clone(), stateful.fit_on().to_owned()))
    }
}
