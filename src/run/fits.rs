//! Fits: siblings that learn from the same rows share one scan.

use futures::StreamExt;
use towline_operators::contract::{
    Fitter, Form, LazyTable, OperatorError, ProgressSink, State, StateTable, Vocabulary,
};

use super::reuse::{Claim, Made, Making, Piece, Role};
use super::runner::{Failure, Runner};
use super::value::{NodeValue, lazies};
use crate::plan::Fingerprint;
use crate::store::{Content, Entry};

/// A fit that has to run.
struct Learner {
    node: usize,
    making: Making,
    fitter: Box<dyn Fitter>,
    columns: std::ops::Range<usize>,
}

/// What each node's fit came to.
pub(super) type Fitted = Vec<(usize, Result<(State, String), Failure>)>;

impl Runner {
    /// The states of nodes whose inputs are columns of the same rows. Those in the store are taken from there; the rest
    /// see every row of the split in one scan.
    pub(super) fn fit(&self, members: &[(usize, NodeValue)], progress: &dyn ProgressSink) -> Fitted {
        let mut done: Fitted = Vec::new();
        let mut learners = Vec::new();
        let mut scan: Option<LazyTable> = None;
        for (node, value) in members {
            match self.learner(*node, value, &mut scan) {
                Ok(Ok(entry)) => done.push((*node, Ok(self.state(&entry)))),
                Ok(Err(learner)) => learners.push(learner),
                Err(failure) => done.push((*node, Err(failure))),
            }
        }
        let nodes: Vec<usize> = learners.iter().map(|learner| learner.node).collect();
        match scan.map(|table| self.scan_for(&table, &mut learners, progress)) {
            Some(Err(failure)) => {
                let text = failure.to_string();
                done.extend(
                    nodes
                        .iter()
                        .map(|&node| (node, Err(OperatorError::invalid(text.clone()).into()))),
                );
                return done;
            }
            Some(Ok(failed)) => {
                for (node, failure) in failed {
                    learners.retain(|learner| learner.node != node);
                    done.push((node, Err(failure)));
                }
            }
            None => {}
        }
        for learner in learners {
            done.push((learner.node, self.finish(learner)));
        }
        done
    }

    fn learner(
        &self,
        node: usize,
        value: &NodeValue,
        scan: &mut Option<LazyTable>,
    ) -> Result<Result<Entry, Learner>, Failure> {
        let typed = &self.nodes[node];
        let (Form::Stateful(stateful), NodeValue::Dataset { lazy, recipe, .. }) = (typed.built.operator.form(), value)
        else {
            return Err(OperatorError::invalid("only a dataset can be learnt from").into());
        };
        let split = stateful.fit_on();
        let digests = [
            ("input".to_owned(), recipe.clone()),
            ("split".to_owned(), split.to_owned()),
        ];
        let role = Role::Fit;
        let piece = Piece {
            node,
            role,
            fingerprint: Fingerprint::of_step(&typed.descriptor, &typed.built, role.word(), &digests),
        };
        let making = match self.claim(piece)? {
            Claim::Done(entry) => return Ok(Ok(entry)),
            Claim::Make(making) => making,
        };
        let Some(table) = lazy.split(split) else {
            return Err(OperatorError::invalid(format!("there is no split `{split}` to fit on")).into());
        };
        let names = stateful.fit_columns(&lazy.schema);
        let scan = scan.get_or_insert_with(|| LazyTable {
            base: table.base.clone(),
            columns: Vec::new(),
        });
        let start = scan.columns.len();
        for name in &names {
            let Some(column) = table.columns.iter().find(|column| column.name == *name) else {
                return Err(OperatorError::invalid(format!("there is no column `{name}` to fit on")).into());
            };
            let mut column = column.clone();
            column.name = format!("{}", scan.columns.len());
            scan.columns.push(column);
        }
        let fitter = stateful.fitter(&lazy.schema)?;
        let columns = start..scan.columns.len();
        Ok(Err(Learner {
            node,
            making,
            fitter,
            columns,
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

    fn finish(&self, learner: Learner) -> Result<(State, String), Failure> {
        let temp = self.store.temp_dir()?;
        let output = learner.fitter.finish(temp.path())?;
        let content = Content::State {
            tables: self.publish_files(output.tables)?,
            facts: output.facts,
        };
        let entry = self.publish(learner.making, Made::from(content))?;
        Ok(self.state(&entry))
    }

    fn state(&self, entry: &Entry) -> (State, String) {
        let digest = entry.content_digest();
        let Content::State { tables, facts } = &entry.content else {
            return (State::default(), digest);
        };
        let tables = tables
            .iter()
            .map(|(name, blob)| {
                let vocabulary = Vocabulary::at(&self.store.blob_path(blob));
                (
                    name.clone(),
                    StateTable {
                        digest: blob.digest.clone(),
                        vocabulary,
                    },
                )
            })
            .collect();
        (
            State {
                tables,
                facts: facts.clone(),
            },
            digest,
        )
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
