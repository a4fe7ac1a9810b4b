//! A run of `TwoTowerTrain`: from the stored dataset to the stored model.

use std::collections::{BTreeMap, VecDeque};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use towline_kernels::Mask;

use crate::data::catalogue::{Catalogue, ItemTable};
use crate::data::feature_table::FeatureTable;
use crate::data::id_mapping::IdMapping;
use crate::data::positives::UserPositives;
use crate::data::tower_columns::{TowerColumns, columns_of};
use crate::data::training_rows::TrainingRows;
use crate::evaluate::averaging_unit::Per;
use crate::evaluate::evaluation::EvaluationQueries;
use crate::model::interaction_history::InteractionHistory;
use crate::model::retrieval_type::RetrievalType;
use crate::model::stored_model::LoadedModel;
use crate::towers::towers::Towers;
use crate::train::checkpoint::{Best, TrainingProgress};
use crate::train::data_scan::DataScan;
use crate::train::losses::hard_negatives::Frozen;
use crate::train::losses::sampling::Sampling;
use crate::train::network::warm_start;
use crate::train::network::warm_start::{EncodedColumns, WarmStartCounts};
use crate::train::train_backend::NewBackend;
use crate::train::training_loop::Training;
use crate::train::two_tower_train::{BEST_EPOCH, INPUT, NEW_ITEMS, TEMPERATURE, TwoTowerTrain, WARM_START};
use crate::train::validation::Validation;
use towline_api::{
    Artifact, Column, Context, DatasetFiles, Inputs, ModelFiles, OperatorError, Output, ReportTable, Result,
};

/// File of the last checkpoint.
const CHECKPOINT: &str = "training.checkpoint";

/// Inputs of a training besides its rows.
pub(super) struct TrainingData<'a> {
    pub(super) dataset: &'a DatasetFiles,
    sides: TowerColumns,
    pub(super) model_type: RetrievalType,
    pub(super) interactions: usize,
    users: IdMapping,
    pub(super) items: ItemTable,
    pub(super) catalogue: Catalogue,
    pub(super) warnings: Vec<String>,
}

/// Training rows, positives and negative sampling.
struct TrainingSamples {
    rows: TrainingRows,
    liked: UserPositives,
    sampling: Sampling,
}

/// Initial model and backend of a training.
struct Start<'a> {
    /// The model of a warm start.
    earlier: Option<&'a ModelFiles>,
    new_backend: &'a NewBackend<'a>,
}

/// Result of a training.
pub(super) struct Trained {
    pub(super) towers: Towers,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) table: ReportTable,
    pub(super) taken: Option<WarmStartCounts>,
    /// Steps of all epochs.
    pub(super) steps: usize,
}

impl TwoTowerTrain {
    /// Trains on a backend.
    ///
    /// # Errors
    /// Says what is wrong with the data, or what the backend reports.
    pub fn train_on(
        &self,
        inputs: &Inputs<Artifact>,
        context: &Context,
        new_backend: &NewBackend<'_>,
    ) -> Result<Output> {
        let context = &Context {
            threads: self.threads.unwrap_or(context.threads),
            ..context.clone()
        };
        let (data, samples) = self.prepare(inputs, context)?;
        let validation = self.read_validation(&data, context)?;
        let earlier = WARM_START.files(inputs)?;
        let start = Start { earlier, new_backend };
        let trained = self.train(&data, samples, validation.as_ref(), &start, context)?;
        self.stored(&data, validation.as_ref(), trained, context)
    }

    fn read(dataset: &DatasetFiles, sides: &TowerColumns, split: &str, context: &Context) -> Result<FeatureTable> {
        let columns: Vec<&Column> = sides.query.iter().chain(&sides.item).collect();
        FeatureTable::read(
            crate::model::stored_model::tables(dataset, Some(split))?,
            &columns,
            &context.cancel,
        )
    }

    fn prepare<'a>(
        &self,
        inputs: &'a Inputs<Artifact>,
        context: &Context,
    ) -> Result<(TrainingData<'a>, TrainingSamples)> {
        let dataset = INPUT.files(inputs)?;
        let sides = TowerColumns::of(&dataset.schema).map_err(|problems| {
            let texts: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            OperatorError::invalid(texts.join("; "))
        })?;
        let validation = self.validation(dataset.splits.iter().map(|(name, _)| name.as_str()));
        let model_type = self.model_type(&sides, validation);
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::internal("there are no id columns"));
        };
        let users = IdMapping::of(user, &dataset.vocabularies)?;
        let DataScan {
            rows,
            liked,
            counts,
            warnings,
        } = self.survey(dataset, &sides, &users, context)?;
        let sampling = Sampling::new(&rows.chunk.item_ids[..counts.len()], &counts);
        let order = sampling.catalogue();
        let mut items = ItemTable::distinct(
            rows.chunk.items.select(order),
            order.iter().map(|&row| counts[row]).collect(),
            &model_type.item,
            &sides.item_id,
        );
        if let Some(more) = NEW_ITEMS.files(inputs)? {
            let columns = columns_of(&sides.item.iter().collect::<Vec<_>>(), more, NEW_ITEMS.name())?;
            let more = FeatureTable::read(
                crate::model::stored_model::tables(more, None)?,
                &columns,
                &context.cancel,
            )?;
            items = items.and(&ItemTable::collect(&more, &model_type.item, &sides.item_id)?)?;
        }
        let catalogue = Catalogue::new(&items, &IdMapping::of(item, &dataset.vocabularies)?)?;
        let data = TrainingData {
            dataset,
            sides,
            model_type,
            interactions: rows.rows,
            users,
            items,
            catalogue,
            warnings,
        };
        Ok((data, TrainingSamples { rows, liked, sampling }))
    }

    fn read_validation<'a>(&'a self, data: &'a TrainingData<'_>, context: &Context) -> Result<Option<Validation<'a>>> {
        let TrainingData {
            dataset,
            sides,
            model_type,
            users,
            catalogue,
            ..
        } = data;
        let Some(split) = self.validation(dataset.splits.iter().map(|(name, _)| name.as_str())) else {
            return Ok(None);
        };
        let table = Self::read(dataset, sides, split, context)?;
        let seen = if self.exclude_seen {
            let wanted = table.single(&sides.user_id)?.iter().copied().collect();
            let people = (users, &wanted);
            InteractionHistory::of_users(dataset, &self.fit_on, model_type, catalogue, people, &context.cancel)?
        } else {
            InteractionHistory::default()
        };
        let cases = match self.validate_per {
            Per::User => EvaluationQueries::per_user(&table, model_type, catalogue, users, &seen)?,
            Per::Interaction => EvaluationQueries::per_interaction(&table, model_type, catalogue, &seen)?,
        };
        let hopeless = cases.hopeless(split, table.rows);
        if let (Some(why), true) = (&hopeless, self.early_stopping.is_some()) {
            return Err(OperatorError::invalid(format!("`early_stopping`: {why}")));
        }
        Ok(Some(Validation {
            hopeless,
            split,
            cases,
            seen,
            at: &self.metrics_at,
        }))
    }

    fn train(
        &self,
        data: &TrainingData<'_>,
        TrainingSamples { rows, liked, sampling }: TrainingSamples,
        validation: Option<&Validation<'_>>,
        start: &Start<'_>,
        context: &Context,
    ) -> Result<Trained> {
        let TrainingData {
            sides,
            catalogue,
            model_type,
            interactions,
            ..
        } = data;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let (query, item) = self.shapes(sides, (&rows.chunk.queries, &rows.chunk.items))?;
        let mut towers = Towers::init(self.normalize, query, item, &mut rng)?;
        self.initialise_tables(&mut towers, &catalogue.table)?;
        let earlier = start.earlier;
        let taken = earlier
            .map(|earlier| warmed(&mut towers, data, earlier, context))
            .transpose()?;
        let steps = self.epochs * rows.steps(self.batch_size);
        let config = self.training_config(steps);
        let mut backend = (start.new_backend)(&towers, &config, self.precision, context.threads)?;
        let backend = backend.as_mut();
        let mut training = Training {
            batch_size: self.batch_size,
            loss: self.loss,
            logq: self.logq,
            uniform_negatives: self.uniform_negatives,
            frozen: None,
            context,
            rows,
            liked,
            sampling,
            mask: Mask::default(),
        };

        context
            .progress
            .begin("rows", Some((self.epochs * interactions) as u64));
        let per_epoch: Vec<&String> = model_type.metrics.iter().filter(|name| *name != BEST_EPOCH).collect();
        let mut progress = TrainingProgress {
            epoch: 0,
            rng,
            metrics: BTreeMap::new(),
            rows: Vec::new(),
            best: None,
            ends: VecDeque::new(),
        };
        let checkpoint = context.scratch()?.join(CHECKPOINT);
        if progress.take_up(backend, &towers, &checkpoint)? {
            let text = format!("resumed after epoch {}/{}", progress.epoch, self.epochs);
            context.progress.note(&text);
            context.progress.advance((progress.epoch * interactions) as u64);
            backend.download(&mut towers)?;
        }
        while progress.epoch < self.epochs && !self.is_over(&progress) {
            progress.epoch += 1;
            training.frozen = match self.hard_negatives {
                // Initial weights rank at random.
                Some(settings) if progress.epoch > 1 || earlier.is_some() => {
                    let mut copy = towers.clone();
                    backend.download(&mut copy)?;
                    let items = training.rows.chunk.items.select(training.sampling.catalogue());
                    Some(Frozen::new(settings, copy, &items, context)?)
                }
                _ => None,
            };
            let loss = training.epoch(backend, &mut progress.rng)?;
            progress.metrics.insert("loss".to_owned(), loss);
            if self.learn_temperature {
                progress.metrics.insert(TEMPERATURE.to_owned(), backend.temperature()?);
            }
            backend.download(&mut towers)?;
            if self.average_epochs > 1 {
                progress.ends.truncate(self.average_epochs - 1);
                progress.ends.push_front(towers.clone());
                towers = Towers::mean(&progress.ends);
            }
            if let Some(validation) = validation {
                progress
                    .metrics
                    .extend(validation.measure(&towers, catalogue, context)?);
                self.keep_if_best(&mut progress, validation.split, &towers);
            }
            self.report_epoch(&mut progress, &per_epoch, context);
            // After the last epoch everything is nearly done.
            if progress.epoch < self.epochs {
                progress.write(backend, &checkpoint)?;
            }
        }
        let columns = std::iter::once("epoch").chain(per_epoch.iter().map(|name| name.as_str()));
        let table = ReportTable {
            title: "training".to_owned(),
            columns: columns.map(str::to_owned).collect(),
            rows: progress.rows,
        };
        let mut metrics = progress.metrics;
        if let Some(best) = progress.best {
            towers = best.towers;
            metrics = best.metrics;
            metrics.insert(BEST_EPOCH.to_owned(), best.epoch as f64);
        }
        Ok(Trained {
            towers,
            metrics,
            table,
            taken,
            steps,
        })
    }

    /// Whether early stopping ends the training.
    fn is_over(&self, progress: &TrainingProgress) -> bool {
        let best = self.early_stopping.as_ref().zip(progress.best.as_ref());
        best.is_some_and(|(early, best)| progress.epoch > best.epoch && progress.epoch - best.epoch >= early.patience)
    }

    /// Keeps the weights of the epoch if it is the best so far.
    fn keep_if_best(&self, progress: &mut TrainingProgress, split: &str, towers: &Towers) {
        let Some(early) = &self.early_stopping else { return };
        let value = progress.metrics.get(&format!("{split}_{}", early.metric));
        let value = value.copied().unwrap_or(0.0);
        if progress.best.as_ref().is_none_or(|best| value > best.value) {
            progress.best = Some(Best {
                value,
                epoch: progress.epoch,
                towers: towers.clone(),
                metrics: progress.metrics.clone(),
            });
        }
    }

    /// Reports the metrics of an epoch.
    fn report_epoch(&self, progress: &mut TrainingProgress, names: &[&String], context: &Context) {
        let known = names
            .iter()
            .filter_map(|name| Some((name, progress.metrics.get(*name)?)));
        let (named, values): (Vec<String>, Vec<String>) = known
            .map(|(name, x)| (format!("{name} {x:.4}"), format!("{x:.4}")))
            .unzip();
        let (epoch, epochs) = (progress.epoch, self.epochs);
        context
            .progress
            .note(&format!("epoch {epoch}/{epochs}, {}", named.join(", ")));
        progress
            .rows
            .push(std::iter::once(epoch.to_string()).chain(values).collect());
    }
}

/// Warm start: initialises the towers with the weights of an earlier model.
fn warmed(
    towers: &mut Towers,
    data: &TrainingData<'_>,
    earlier: &ModelFiles,
    context: &Context,
) -> Result<WarmStartCounts> {
    let loaded = LoadedModel::load(earlier, &context.cancel)?;
    let before = loaded.towers()?;
    let now = |columns| EncodedColumns {
        columns,
        vocabularies: &data.dataset.vocabularies,
    };
    let then = |columns| EncodedColumns {
        columns,
        vocabularies: &earlier.vocabularies,
    };
    let (types, old) = (&data.model_type, &loaded.model_type);
    let known = (before, [then(&old.query), then(&old.item)]);
    warm_start::take_over(towers, [now(&types.query), now(&types.item)], known)
}
