//! A run of `TwoTowerTrain`: from the stored dataset to the stored model.

use std::collections::{BTreeMap, VecDeque};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use towline_kernels::Mask;

use crate::data::catalogue::{Catalogue, ITEMS, ItemTable};
use crate::data::feature_table::FeatureTable;
use crate::data::id_mapping::IdMapping;
use crate::data::positives::UserPositives;
use crate::data::tower_columns::{TowerColumns, columns_of};
use crate::data::training_rows::TrainingRows;
use crate::evaluate::averaging_unit::Per;
use crate::evaluate::evaluation::EvaluationQueries;
use crate::model::interaction_history::InteractionHistory;
use crate::model::stored_model::LoadedModel;
use crate::towers::tower_shape::WEIGHTS;
use crate::towers::towers::Towers;
use crate::train::checkpoint::{Best, Course};
use crate::train::data_scan::Survey;
use crate::train::losses::hard_negatives::Frozen;
use crate::train::losses::sampling::Sampling;
use crate::train::network::compute_backend::Computing;
use crate::train::network::warm_start;
use crate::train::network::warm_start::{Meaning, Taken};
use crate::train::train_backend::Learner;
use crate::train::training_loop::Training;
use crate::train::two_tower_train::{BEST_EPOCH, TEMPERATURE, TwoTowerTrain};
use crate::train::validation::Validation;
use towline_api::{
    Artifact, Column, Context, DatasetFiles, Inputs, ModelFiles, ModelType, OperatorError, Output, Report, ReportTable,
    Result, Task, TaskResult, file_dataset_at,
};

/// The state of training after the epoch that was done last.
const CHECKPOINT: &str = "training.checkpoint";

/// What training works on.
struct Material<'a> {
    dataset: &'a DatasetFiles,
    sides: TowerColumns,
    model_type: ModelType,
    interactions: usize,
    users: IdMapping,
    items: ItemTable,
    catalogue: Catalogue,
    warnings: Vec<String>,
}

/// What training goes through.
struct LearnedFrom {
    rows: TrainingRows,
    liked: UserPositives,
    sampling: Sampling,
}

/// What training has brought about.
struct Trained {
    towers: Towers,
    metrics: BTreeMap<String, f64>,
    table: ReportTable,
    taken: Option<Taken>,
    /// Steps of all epochs.
    steps: usize,
}

impl Task for TwoTowerTrain {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let context = &Context {
            threads: self.threads.unwrap_or(context.threads),
            ..context.clone()
        };
        let (material, learned_from) = self.material(inputs, context)?;
        let validation = self.read_validation(&material, context)?;
        let earlier = match inputs.get("warm_start") {
            Some(Artifact::Model(model)) => Some(model),
            _ => None,
        };
        let trained = self.train(&material, learned_from, validation.as_ref(), earlier, context)?;
        self.stored(&material, validation.as_ref(), trained, context)
    }
}

impl TwoTowerTrain {
    fn read(dataset: &DatasetFiles, sides: &TowerColumns, split: &str, context: &Context) -> Result<FeatureTable> {
        let columns: Vec<&Column> = sides.query.iter().chain(&sides.item).collect();
        FeatureTable::read(
            crate::model::stored_model::tables(dataset, Some(split))?,
            &columns,
            &context.cancel,
        )
    }

    fn material<'a>(&self, inputs: &'a Inputs<Artifact>, context: &Context) -> Result<(Material<'a>, LearnedFrom)> {
        let dataset = file_dataset_at(inputs, "input")?;
        let sides = TowerColumns::of(&dataset.schema).map_err(|problems| {
            let texts: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            OperatorError::invalid(texts.join("; "))
        })?;
        let validation = self.validation(dataset.splits.iter().map(|(name, _)| name.as_str()));
        let model_type = self.model_type(&sides, validation);
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::invalid("there are no id columns"));
        };
        let users = IdMapping::of(user, &dataset.vocabularies)?;
        let Survey {
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
        if let Some(Artifact::Dataset(more)) = inputs.get("items") {
            let columns = columns_of(&sides.item.iter().collect::<Vec<_>>(), more, "items")?;
            let more = FeatureTable::read(
                crate::model::stored_model::tables(more, None)?,
                &columns,
                &context.cancel,
            )?;
            items = items.and(&ItemTable::collect(&more, &model_type.item, &sides.item_id)?)?;
        }
        let catalogue = Catalogue::new(&items, &IdMapping::of(item, &dataset.vocabularies)?)?;
        let material = Material {
            dataset,
            sides,
            model_type,
            interactions: rows.rows,
            users,
            items,
            catalogue,
            warnings,
        };
        Ok((material, LearnedFrom { rows, liked, sampling }))
    }

    fn read_validation<'a>(&'a self, material: &'a Material<'_>, context: &Context) -> Result<Option<Validation<'a>>> {
        let Material {
            dataset,
            sides,
            model_type,
            users,
            catalogue,
            ..
        } = material;
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
        material: &Material<'_>,
        LearnedFrom { rows, liked, sampling }: LearnedFrom,
        validation: Option<&Validation<'_>>,
        earlier: Option<&ModelFiles>,
        context: &Context,
    ) -> Result<Trained> {
        let Material {
            sides,
            catalogue,
            model_type,
            interactions,
            ..
        } = material;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let (query, item) = self.shapes(sides, (&rows.chunk.queries, &rows.chunk.items))?;
        let mut towers = Towers::init(self.normalize, query, item, &mut rng)?;
        self.begin(&mut towers, &catalogue.table)?;
        let taken = earlier
            .map(|earlier| warmed(&mut towers, material, earlier, context))
            .transpose()?;
        let steps = self.epochs * rows.steps(self.batch_size);
        let manner = self.manner(steps);
        let on = Computing::new(self.precision, context.threads);
        let mut learner = Learner::new(&towers, &manner, (self.device, self.precision, on))?;
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
        let mut course = Course {
            epoch: 0,
            rng,
            metrics: BTreeMap::new(),
            rows: Vec::new(),
            best: None,
            ends: VecDeque::new(),
        };
        let checkpoint = context.scratch()?.join(CHECKPOINT);
        if course.take_up(&mut learner, &towers, &checkpoint)? {
            let text = format!("taken up after epoch {}/{}", course.epoch, self.epochs);
            context.progress.note(&text);
            context.progress.advance((course.epoch * interactions) as u64);
            learner.download(&mut towers)?;
        }
        while course.epoch < self.epochs && !self.is_over(&course) {
            course.epoch += 1;
            training.frozen = match self.hard_negatives {
                // Fresh weights recommend nothing.
                Some(settings) if course.epoch > 1 || earlier.is_some() => {
                    let mut copy = towers.clone();
                    learner.download(&mut copy)?;
                    let items = training.rows.chunk.items.select(training.sampling.catalogue());
                    Some(Frozen::new(settings, copy, &items, context)?)
                }
                _ => None,
            };
            let loss = training.epoch(&mut learner, &mut course.rng)?;
            course.metrics.insert("loss".to_owned(), loss);
            if self.learn_temperature {
                course.metrics.insert(TEMPERATURE.to_owned(), learner.temperature()?);
            }
            learner.download(&mut towers)?;
            if self.average_epochs > 1 {
                course.ends.truncate(self.average_epochs - 1);
                course.ends.push_front(towers.clone());
                towers = Towers::mean(&course.ends);
            }
            if let Some(validation) = validation {
                course.metrics.extend(validation.measure(&towers, catalogue, context)?);
                self.judge(&mut course, validation.split, &towers);
            }
            self.tell(&mut course, &per_epoch, context);
            // After the last epoch everything is nearly done.
            if course.epoch < self.epochs {
                course.write(&learner, &checkpoint)?;
            }
        }
        let columns = std::iter::once("epoch").chain(per_epoch.iter().map(|name| name.as_str()));
        let table = ReportTable {
            title: "training".to_owned(),
            columns: columns.map(str::to_owned).collect(),
            rows: course.rows,
        };
        let mut metrics = course.metrics;
        if let Some(best) = course.best {
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

    /// Whether the validation has got no better for so long that there is no use in going on.
    fn is_over(&self, course: &Course) -> bool {
        let best = self.early_stopping.as_ref().zip(course.best.as_ref());
        best.is_some_and(|(early, best)| course.epoch > best.epoch && course.epoch - best.epoch >= early.patience)
    }

    /// Keeps the epoch if it is the best so far.
    fn judge(&self, course: &mut Course, split: &str, towers: &Towers) {
        let Some(early) = &self.early_stopping else { return };
        let value = course.metrics.get(&format!("{split}_{}", early.metric));
        let value = value.copied().unwrap_or(0.0);
        if course.best.as_ref().is_none_or(|best| value > best.value) {
            course.best = Some(Best {
                value,
                epoch: course.epoch,
                towers: towers.clone(),
                metrics: course.metrics.clone(),
            });
        }
    }

    /// Says how an epoch went.
    fn tell(&self, course: &mut Course, names: &[&String], context: &Context) {
        let known = names.iter().filter_map(|name| Some((name, course.metrics.get(*name)?)));
        let (named, values): (Vec<String>, Vec<String>) = known
            .map(|(name, x)| (format!("{name} {x:.4}"), format!("{x:.4}")))
            .unzip();
        let (epoch, epochs) = (course.epoch, self.epochs);
        context
            .progress
            .note(&format!("epoch {epoch}/{epochs}, {}", named.join(", ")));
        course
            .rows
            .push(std::iter::once(epoch.to_string()).chain(values).collect());
    }

    fn stored(
        &self,
        material: &Material<'_>,
        validation: Option<&Validation<'_>>,
        trained: Trained,
        context: &Context,
    ) -> Result<Output> {
        let Material {
            dataset,
            model_type,
            items,
            catalogue,
            ..
        } = material;
        let (weights, catalogue_file) = (context.temp_file(WEIGHTS), context.temp_file(ITEMS));
        trained.towers.write(&weights)?;
        items.write(&catalogue_file)?;
        let description = serde_json::to_value(trained.towers.architecture());
        let description = description.map_err(|error| OperatorError::invalid(error.to_string()))?;
        let files = [(WEIGHTS.to_owned(), weights), (ITEMS.to_owned(), catalogue_file)].into();
        let columns = model_type.query.columns.iter().chain(&model_type.item.columns);
        let digests = columns.filter_map(|column| column.domain.as_ref()?.vocabulary.as_ref());
        let vocabularies = digests
            .filter_map(|digest| Some((digest.clone(), dataset.vocabularies.get(digest)?.clone())))
            .collect();
        let mut warnings = material.warnings.clone();
        if self.warm_up as usize > trained.steps {
            warnings.push(format!(
                "the learning rate was still rising at the end: `warm_up` is {} steps, and all epochs together are {}",
                self.warm_up, trained.steps
            ));
        }
        warnings.extend(validation.and_then(|validation| validation.hopeless.clone()));
        if let Some(validation) =
            validation.filter(|validation| validation.hopeless.is_none() && validation.cases.outside > 0)
        {
            warnings.push(format!(
                "{} interactions of `{}` are with items that `{}` lacks: no model can find them",
                validation.cases.outside, validation.split, self.fit_on
            ));
        }
        let mut facts = vec![
            ("interactions".to_owned(), material.interactions.to_string()),
            ("items".to_owned(), catalogue.len().to_string()),
        ];
        if let Some(Taken { kept, fresh }) = trained.taken {
            facts.push(("embeddings of the earlier model".to_owned(), kept.to_string()));
            facts.push(("fresh embeddings".to_owned(), fresh.to_string()));
        }
        Ok(Output {
            result: TaskResult::Model {
                model_type: model_type.clone(),
                description,
                files,
                vocabularies,
            },
            metrics: trained.metrics,
            report: Report {
                facts,
                tables: vec![trained.table],
                warnings,
            },
        })
    }
}

/// Puts the weights of an earlier model into the towers.
fn warmed(towers: &mut Towers, material: &Material<'_>, earlier: &ModelFiles, context: &Context) -> Result<Taken> {
    let loaded = LoadedModel::load(earlier, &context.cancel)?;
    let before = loaded.towers()?;
    let now = |columns| Meaning {
        columns,
        vocabularies: &material.dataset.vocabularies,
    };
    let then = |columns| Meaning {
        columns,
        vocabularies: &earlier.vocabularies,
    };
    let (types, old) = (&material.model_type, &loaded.model_type);
    let known = (before, [then(&old.query), then(&old.item)]);
    warm_start::take_over(towers, [now(&types.query), now(&types.item)], known)
}
