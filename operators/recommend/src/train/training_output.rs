//! The stored model of a training, with its report.

use crate::data::catalogue::ITEMS;
use crate::towers::tower_shape::WEIGHTS;
use crate::train::network::warm_start::WarmStartCounts;
use crate::train::training_run::{Trained, TrainingData};
use crate::train::two_tower_train::TwoTowerTrain;
use crate::train::validation::Validation;
use towline_api::{Context, OperatorError, Output, Report, Result, TaskResult};

impl TwoTowerTrain {
    /// Writes the model into the temporary folder.
    pub(super) fn stored(
        &self,
        data: &TrainingData<'_>,
        validation: Option<&Validation<'_>>,
        trained: Trained,
        context: &Context,
    ) -> Result<Output> {
        let TrainingData {
            dataset,
            model_type,
            items,
            catalogue,
            ..
        } = data;
        let (weights, catalogue_file) = (context.temp_file(WEIGHTS), context.temp_file(ITEMS));
        trained.towers.write(&weights)?;
        items.write(&catalogue_file)?;
        let description = serde_json::to_value(trained.towers.architecture());
        let description = description.map_err(|error| OperatorError::internal(error.to_string()))?;
        let files = [(WEIGHTS.to_owned(), weights), (ITEMS.to_owned(), catalogue_file)].into();
        let columns = model_type.query.columns.iter().chain(&model_type.item.columns);
        let digests = columns.filter_map(|column| column.domain.as_ref()?.vocabulary.as_ref());
        let vocabularies = digests
            .filter_map(|digest| Some((digest.clone(), dataset.vocabularies.get(digest)?.clone())))
            .collect();
        let mut warnings = data.warnings.clone();
        if self.warm_up as usize > trained.steps {
            warnings.push(format!(
                "the learning rate did not reach its peak: `warm_up` is {} steps, and all epochs together are {}",
                self.warm_up, trained.steps
            ));
        }
        warnings.extend(validation.and_then(|validation| validation.hopeless.clone()));
        if let Some(validation) =
            validation.filter(|validation| validation.hopeless.is_none() && validation.cases.outside > 0)
        {
            warnings.push(format!(
                "{} interactions of `{}` are with items that are not in `{}` and cannot be recommended",
                validation.cases.outside, validation.split, self.fit_on
            ));
        }
        let mut facts = vec![
            ("interactions".to_owned(), data.interactions.to_string()),
            ("items".to_owned(), catalogue.len().to_string()),
        ];
        if let Some(WarmStartCounts { kept, fresh }) = trained.taken {
            facts.push(("warm-start embeddings".to_owned(), kept.to_string()));
            facts.push(("new embeddings".to_owned(), fresh.to_string()));
        }
        Ok(Output {
            result: TaskResult::Model {
                model_type: model_type.clone().into(),
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
