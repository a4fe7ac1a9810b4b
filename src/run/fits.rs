//! Fits: siblings that learn from the same rows share one scan.

use std::collections::BTreeMap;
use std::ops::Range;

use tempfile::TempDir;
use towline_api::{FitContext, Fitter, Form, Inputs, LazyDataset, LazyTable, OperatorError, State, Stateful};

use crate::plan::Origin;
use crate::run::attempts::Job;
use crate::run::reuse::{Claim, Made, Making, Piece, Role};
use crate::run::runner::{Failure, Runner};
use crate::run::schedule::FitKey;
use crate::run::value::{NodeValue, lazies};
use crate::store::{Content, Entry};

/// A fit that has to run.
struct Learner {
    node: usize,
    making: Making,
    fitter: Box<dyn Fitter>,
    columns: Range<usize>,
    temp: TempDir,
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
    pub(super) fn fit(&self, members: &[(usize, Vec<NodeValue>)], job: &Job) -> Fitted {
        let mut done: Fitted = Vec::new();
        let mut lessons: BTreeMap<String, Vec<Lesson<'_>>> = BTreeMap::new();
        for (node, inputs) in members {
            match self.lesson(*node, inputs) {
                Ok(lesson) => lessons.entry(lesson.piece.key()).or_default().push(lesson),
                Err(failure) => done.push((*node, Err(failure))),
            }
        }
        if self.verify_determinism {
            let alone = lessons.into_values().flatten().map(|lesson| {
                let node = lesson.piece.node;
                let entry = self.produce(lesson.piece, || self.learn_alone(node, lesson.lazy, lesson.inputs, job));
                (node, entry.map(|entry| self.state(node, &entry)))
            });
            done.extend(alone);
            return done;
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
        self.learn(learners, scan, job, &mut done);
        for piece in followers {
            let node = piece.node;
            let unlearnt = || Err(OperatorError::invalid("a node that learns the same did not finish").into());
            let entry = self.produce(piece, unlearnt);
            done.push((node, entry.map(|entry| self.state(node, &entry))));
        }
        done
    }

    fn learn(&self, mut learners: Vec<Learner>, scan: Option<LazyTable>, job: &Job, done: &mut Fitted) {
        match scan.map(|table| self.scan_for(&table, &mut learners, job)) {
            Some(Err(failure)) => {
                done.extend(learners.iter().map(|learner| (learner.node, Err(failure.copy()))));
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
        let (fitter, columns, temp) = self.pupil(node, stateful, lazy, inputs, scan)?;
        Ok(Err(Learner {
            node,
            making,
            fitter,
            columns,
            temp,
        }))
    }

    /// What a node learns, in a scan of its own.
    fn learn_alone(&self, node: usize, lazy: &LazyDataset, inputs: &[NodeValue], job: &Job) -> Result<Made, Failure> {
        let Form::Stateful(stateful) = self.nodes[node].built.operator.form() else {
            return Err(OperatorError::invalid("this operator does not learn").into());
        };
        let mut scan = None;
        let (mut fitter, _, temp) = self.pupil(node, stateful, lazy, inputs, &mut scan)?;
        if let Some(table) = scan {
            self.batches(&table, job, |batch| Ok(fitter.update(batch)?))?;
        }
        self.learnt(fitter, &temp)
    }

    /// A learner for a node, the columns of the scan that it sees (added to it), and the folder that it works in.
    fn pupil(
        &self,
        node: usize,
        stateful: &dyn Stateful,
        lazy: &LazyDataset,
        inputs: &[NodeValue],
        scan: &mut Option<LazyTable>,
    ) -> Result<(Box<dyn Fitter>, Range<usize>, TempDir), Failure> {
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
        Ok((fitter, start..scan.columns.len(), temp))
    }

    fn scan_for(
        &self,
        table: &LazyTable,
        learners: &mut [Learner],
        job: &Job,
    ) -> Result<Vec<(usize, Failure)>, Failure> {
        let mut failed: Vec<(usize, Failure)> = Vec::new();
        self.batches(table, job, |batch| {
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
            Ok(())
        })?;
        Ok(failed)
    }

    fn finish(&self, learner: Learner) -> Result<(State, Origin), Failure> {
        let node = learner.node;
        let made = self.learnt(learner.fitter, &learner.temp)?;
        let entry = self.publish(learner.making, made)?;
        Ok(self.state(node, &entry))
    }

    fn learnt(&self, fitter: Box<dyn Fitter>, temp: &TempDir) -> Result<Made, Failure> {
        let output = fitter.finish(temp.path())?;
        Ok(Made::from(Content::State {
            tables: self.publish_files(output.tables)?,
            facts: output.facts,
        }))
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
    pub(super) fn fit_key(&self, node: usize, inputs: &[NodeValue]) -> Option<FitKey> {
        let typed = &self.nodes[node];
        let Form::Stateful(stateful) = typed.built.operator.form() else {
            return None;
        };
        lazies(inputs).first()?;
        let timeout = self.pipeline.nodes[node].settings.timeout;
        Some((
            typed.rows.node,
            typed.rows.split.clone(),
            stateful.fit_on().to_owned(),
            timeout,
        ))
    }
}
