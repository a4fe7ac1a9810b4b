//! `Categorify`: encodes categories as integer ids.

pub(crate) mod count;
pub(crate) mod encode;
mod fit;
mod given;
pub(crate) mod keys;
mod rank;
mod spill;
mod stateful;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::count::Counter;
use self::encode::encoded_type;
use self::fit::VocabularyFit;
use self::given::VocabularyFile;
use self::rank::{GivenValues, VocabularyLimits};
use self::units::{VocabularySpec, units};
use crate::features::fit_split::{default_split, unknown_split};
use crate::features::per_column::{PerColumn, few_buckets, occurrences, sizes};
use crate::features::tags::tagging::tagged;
use towline_api::{
    Code, Column, DatasetPort, DatasetType, Describe, Domain, FitContext, Form, Inputs, NodeType, OOV_ID, Operator,
    OperatorError, Optional, Outside, Port, Problem, Purity, Result, Schema, Tag, TypeContext, byte_size,
};

/// Encodes categorical columns as integer ids (label encoding): one vocabulary per column unless `joint` or `combo` is
/// set.
///
/// Ids: 0 is reserved for padding and never produced; 1 is null or NaN; ids from 2 on are the `oov_buckets` buckets for
/// out-of-vocabulary values, selected by a fixed hash (XXH3 of the value's bytes). The vocabulary follows, ordered by
/// frequency descending, then by value ascending. Lists are encoded element by element. Accepts integers of every
/// width, strings, booleans, dates, times and floats. The output is `Int64`, tagged `categorical`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Categorify {
    /// Minimum frequency of a value in the vocabulary; rarer values are out of vocabulary. A number of 1 or more, or
    /// one per column (`{ item_id: 5 }`; other columns have 1).
    #[serde(default = "one")]
    #[schemars(schema_with = "occurrences")]
    pub min_count: PerColumn<u64>,
    /// Maximum number of ids per vocabulary, reserved ids (padding, null, buckets) included; the least frequent values
    /// beyond it are out of vocabulary. A number of 4 or more, or one per column.
    #[serde(default)]
    #[schemars(schema_with = "sizes")]
    pub max_size: Option<PerColumn<u64>>,
    /// Number of hash buckets for out-of-vocabulary values: from 1 to 16,777,216, or one per column.
    #[serde(default = "one")]
    #[schemars(schema_with = "few_buckets")]
    pub oov_buckets: PerColumn<u64>,
    /// Columns that share one vocabulary, by vocabulary name: `{ person: [user_id, friend_id] }`.
    #[serde(default)]
    pub joint: BTreeMap<String, Vec<String>>,
    /// Crossed columns, encoded as tuples of their values, by output column: `{ shop_brand: [shop, brand] }`. A crossed
    /// column is not encoded separately unless it is in `joint`. A tuple is null if all its values are null.
    #[serde(default)]
    pub combo: BTreeMap<String, Vec<String>>,
    /// Given vocabularies, used instead of a fit, by column: `{ item_id: items.parquet }`. A vocabulary file of Towline
    /// or NVTabular, or a Parquet or CSV file whose column `value` (or only column) lists the values in order of their
    /// ids. To use the vocabulary of another node, connect the port `vocabulary`.
    #[serde(default)]
    pub vocabulary: BTreeMap<String, String>,
    /// Whether given vocabularies are extended: existing ids keep their meaning, and new values get the ids after them.
    /// Otherwise new values are out of vocabulary.
    #[serde(default)]
    pub grow: bool,
    /// With `grow`: treats a missing vocabulary file as empty, as on the first run.
    #[serde(default)]
    pub optional: bool,
    /// Memory limit for counting, for example `512MB`; above it, counts are spilled to temporary files. It does not
    /// change the result.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub memory_limit: Option<String>,
    /// The split to fit vocabularies on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

fn one() -> PerColumn<u64> {
    PerColumn::All(1)
}

impl Default for Categorify {
    fn default() -> Self {
        Categorify {
            min_count: one(),
            max_size: None,
            oov_buckets: one(),
            joint: BTreeMap::new(),
            combo: BTreeMap::new(),
            vocabulary: BTreeMap::new(),
            grow: false,
            optional: false,
            memory_limit: None,
            fit_on: default_split(),
        }
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to encode.");
const VOCABULARY: DatasetPort<Optional> = DatasetPort::optional(
    "vocabulary",
    "A dataset whose columns of the same names are encoded already.",
);

impl Describe for Categorify {
    const NAME: &'static str = "Categorify";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port(), VOCABULARY.port()];
    const EXAMPLE: &'static str = "op: Categorify\ninput: clicks[item_brand]\nwith: { min_count: 2 }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let buckets = self.oov_buckets.values().into_iter().max().unwrap_or(1);
        let least = OOV_ID as u64 + buckets + 1;
        let smallest = self.max_size.as_ref().and_then(|size| size.values().into_iter().min());
        if let Some(size) = smallest.filter(|size| *size < least) {
            problems.push(
                Problem::new(
                    Code::OutOfRange,
                    format!(
                        "a `max_size` of {size} leaves no id for values: {} are reserved",
                        least - 1
                    ),
                )
                .at("max_size")
                .help(format!("use at least {least}, or fewer `oov_buckets`")),
            );
        }
        if self.optional && !self.grow {
            problems.push(Problem::new(Code::Conflict, "`optional` needs `grow: true`").at("optional"));
        }
        problems.extend(byte_size::problem(self.memory_limit.as_deref(), "memory_limit"));
        problems
    }
}

impl Categorify {
    fn limits(&self, name: &str) -> VocabularyLimits {
        VocabularyLimits {
            min_count: self.min_count.of(name).unwrap_or(1),
            max_size: self.max_size.as_ref().and_then(|size| size.of(name)),
            oov_buckets: self.oov_buckets.of(name).unwrap_or(1),
        }
    }

    fn units(&self, schema: &Schema) -> Result<Vec<VocabularySpec>, Vec<Problem>> {
        units(schema, &self.joint, &self.combo)
    }

    /// Names in the parameters that match no vocabulary.
    fn unknown_names(&self, units: &[VocabularySpec], schema: &Schema) -> Vec<Problem> {
        let sizes = self.max_size.as_ref().map(PerColumn::names).unwrap_or_default();
        let settings = [
            ("min_count", self.min_count.names()),
            ("max_size", sizes),
            ("oov_buckets", self.oov_buckets.names()),
            ("vocabulary", self.vocabulary.keys().map(String::as_str).collect()),
        ];
        let unknown = settings
            .into_iter()
            .flat_map(|(key, names)| names.into_iter().map(move |name| (key, name)));
        unknown
            .filter(|(_, name)| !units.iter().any(|unit| unit.name == *name))
            .map(|(key, name)| {
                match units
                    .iter()
                    .find(|unit| unit.columns.iter().any(|column| column == name))
                {
                    Some(unit) => {
                        let message = format!(
                            "column `{name}` has no vocabulary of its own: it is part of `{}`",
                            unit.name
                        );
                        Problem::new(Code::Conflict, message)
                            .at(key)
                            .help(format!("set it for `{}`", unit.name))
                    }
                    None => Problem::unknown_column(name, schema).at(key),
                }
            })
            .collect()
    }

    /// The file of a given vocabulary, or `None` if it is optional and missing.
    fn file(&self, name: &str) -> Option<&Path> {
        let path = Path::new(self.vocabulary.get(name)?);
        (!self.optional || path.exists()).then_some(path)
    }

    /// The domain of a vocabulary: the one of the node it comes from if it is unchanged.
    fn domain(&self, unit: &VocabularySpec, others: Option<&Schema>) -> Domain {
        let taken = others
            .filter(|_| !self.grow)
            .and_then(|schema| schema.get(&unit.name)?.domain.clone());
        taken.unwrap_or(Domain {
            name: unit.name.clone(),
            at_most: self.limits(&unit.name).max_size,
            // The textual form of tuple types, which schemas are stored in, cannot be parsed back.
            values: unit.kept.first().filter(|_| !unit.combo).cloned(),
            ..Domain::default()
        })
    }

    fn counting(
        &self,
        unit: &VocabularySpec,
        input: &Schema,
        context: &FitContext<'_>,
        share: Option<usize>,
    ) -> Result<VocabularyFit> {
        let limits = self.limits(&unit.name);
        let values = unit.values()?;
        let mut found = self
            .file(&unit.name)
            .map(|path| VocabularyFile::in_file(path, &unit.name))
            .transpose()?;
        if let Some(other) = VOCABULARY.lazy(context.inputs)
            && let Some(domain) = other.schema.get(&unit.name).and_then(|column| column.domain.as_ref())
        {
            let digest = domain.vocabulary.as_ref();
            let vocabulary = digest
                .and_then(|digest| other.vocabularies.get(digest))
                .ok_or_else(|| {
                    OperatorError::invalid(format!("the column `{}` on `vocabulary` has no vocabulary", unit.name))
                })?;
            found = Some(VocabularyFile::in_node(vocabulary, &unit.name)?);
        }
        let keys = found.as_ref().map(|found| found.keys(&values, limits)).transpose()?;
        let taken = found.and_then(|found| found.own).filter(|_| !self.grow);
        let place = |name: &String| {
            let place = input.columns.iter().position(|column| column.name == *name);
            let place = place.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))?;
            Ok((place, name.clone()))
        };
        Ok(VocabularyFit {
            name: unit.name.clone(),
            columns: unit.columns.iter().map(place).collect::<Result<_>>()?,
            combo: unit.combo,
            limits,
            counter: Counter::new(values, share, context.temp),
            given: keys.map(|keys| GivenValues { keys, grow: self.grow }),
            taken,
        })
    }
}

impl Operator for Categorify {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let mut problems: Vec<Problem> = unknown_split(&self.fit_on, &input.splits).into_iter().collect();
        let units = match self.units(&input.schema) {
            Ok(units) => units,
            Err(found) => {
                problems.extend(found);
                return Err(problems);
            }
        };
        problems.extend(self.unknown_names(&units, &input.schema));
        let missing = |unit: &&VocabularySpec| {
            self.vocabulary
                .get(&unit.name)
                .is_some_and(|path| !Path::new(path).exists())
        };
        for unit in units
            .iter()
            .filter(missing)
            .filter(|_| !self.optional && !context.offline)
        {
            let message = format!("there is no file `{}`", self.vocabulary[&unit.name]);
            problems.push(Problem::new(Code::BadSource, message).at("vocabulary"));
        }
        let others = VOCABULARY.input_type(inputs)?.map(|dataset| &dataset.schema);
        if let Some(others) = others
            && !units
                .iter()
                .any(|unit| others.get(&unit.name).is_some_and(|column| column.domain.is_some()))
        {
            let message = "no column on `vocabulary` is encoded and has the name of a column to encode";
            problems.push(Problem::new(Code::BadInput, message).at_port("vocabulary"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut schema = Schema::default();
        for column in &input.schema.columns {
            let Some(unit) = units
                .iter()
                .find(|unit| !unit.combo && unit.columns.contains(&column.name))
            else {
                continue;
            };
            let list = column.is_list();
            let mut column = column.clone();
            column.data_type = encoded_type(list);
            column.nullable &= list;
            column.domain = Some(self.domain(unit, others));
            schema.columns.push(column);
        }
        for unit in units.iter().filter(|unit| unit.combo) {
            let mut column = Column::new(&unit.name, encoded_type(false), false);
            let mut parts = unit.columns.iter().filter_map(|name| input.schema.get(name));
            column.tags = parts.next().map(|part| part.tags.clone()).unwrap_or_default();
            column.tags.retain(|tag| *tag != Tag::Id);
            for part in parts {
                column.tags.retain(|tag| part.tags.contains(tag));
            }
            column.domain = Some(self.domain(unit, others));
            schema.columns.push(column);
        }
        Ok(NodeType::Dataset(DatasetType {
            schema: tagged(&schema, &[Tag::Categorical])?,
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Stateful(self)
    }

    fn outside(&self) -> Result<Outside> {
        let files = self
            .vocabulary
            .keys()
            .filter_map(|name| self.file(name))
            .map(PathBuf::from)
            .collect();
        Ok(Outside {
            files,
            ..Outside::default()
        })
    }
}

#[cfg(test)]
mod encoded_columns;
#[cfg(test)]
mod given_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole_tests;
