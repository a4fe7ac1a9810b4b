//! Schemas: Arrow fields, and per column what it means (tags) and what its values can be (domain).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::Tag;

/// The set of values that an encoded column can take: `0..size`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Domain {
    /// What the ids stand for; columns that share a vocabulary share this name.
    pub name: String,
    /// Number of ids, reserved ones included; unknown before the fit.
    pub size: Option<u64>,
    /// The most ids there can be, reserved ones included, where the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
    /// The type of the values that the ids stand for.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "type_text")]
    pub values: Option<DataType>,
    /// Content digest of the vocabulary that decodes the ids; unknown before the fit, absent where nothing decodes them.
    pub vocabulary: Option<String>,
}

/// A column: its place in Arrow and its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Unique in its schema.
    pub name: String,
    /// The Arrow type of its values.
    pub data_type: DataType,
    /// Whether a value can be missing.
    pub nullable: bool,
    /// Its roles.
    pub tags: BTreeSet<Tag>,
    /// The ids it can hold, where it was encoded.
    pub domain: Option<Domain>,
}

impl Column {
    /// A column with neither tags nor domain.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        Column {
            name: name.into(),
            data_type,
            nullable,
            tags: BTreeSet::new(),
            domain: None,
        }
    }

    /// The same column with one tag more.
    #[must_use]
    pub fn with_tag(mut self, tag: Tag) -> Self {
        self.tags.insert(tag);
        self
    }

    /// Whether it carries every one of `tags`.
    pub fn has(&self, tags: &[Tag]) -> bool {
        tags.iter().all(|tag| self.tags.contains(tag))
    }

    /// The type of its values, or of the elements if it holds lists.
    pub fn element_type(&self) -> &DataType {
        match &self.data_type {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => field.data_type(),
            other => other,
        }
    }

    /// Whether a row holds several values.
    pub fn is_list(&self) -> bool {
        matches!(
            self.data_type,
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
        )
    }
}

/// The columns of a dataset, in order; names are unique.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// The columns, in the order of the table.
    pub columns: Vec<Column>,
}

impl Schema {
    /// A schema without tags, from Arrow's.
    pub fn from_arrow(schema: &arrow::datatypes::Schema) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|f| Column::new(f.name(), f.data_type().clone(), f.is_nullable()))
            .collect();
        Schema { columns }
    }

    /// The Arrow half of this schema.
    pub fn to_arrow(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), c.nullable))
            .collect();
        Arc::new(arrow::datatypes::Schema::new(fields))
    }

    /// The column of that name.
    pub fn get(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that carry every one of `tags`, in order.
    pub fn tagged<'a>(&'a self, tags: &'a [Tag]) -> impl Iterator<Item = &'a Column> {
        self.columns.iter().filter(move |column| column.has(tags))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// This schema with the Arrow types of `schema`: tags and domains stay with the columns whose name and type are the same.
    #[must_use]
    pub fn carried_to(&self, schema: &arrow::datatypes::Schema) -> Schema {
        let mut out = Schema::from_arrow(schema);
        for column in &mut out.columns {
            if let Some(old) = self.get(&column.name).filter(|old| old.data_type == column.data_type) {
                column.tags.clone_from(&old.tags);
                column.domain.clone_from(&old.domain);
            }
        }
        out
    }
}

/// Arrow types have a textual form that parses back.
mod type_text {
    use arrow::datatypes::DataType;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(value: &Option<DataType>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value.as_ref().unwrap_or(&DataType::Null))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DataType>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}

/// The stored form of a column: Arrow types have a textual form that parses back.
#[derive(Serialize, Deserialize)]
struct ColumnForm {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    nullable: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tags: BTreeSet<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<Domain>,
}

impl Serialize for Schema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.columns.iter().map(|c| ColumnForm {
            name: c.name.clone(),
            data_type: c.data_type.to_string(),
            nullable: c.nullable,
            tags: c.tags.clone(),
            domain: c.domain.clone(),
        }))
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let forms = Vec::<ColumnForm>::deserialize(deserializer)?;
        let columns = forms
            .into_iter()
            .map(|form| {
                let data_type = form.data_type.parse().map_err(serde::de::Error::custom)?;
                Ok(Column {
                    name: form.name,
                    data_type,
                    nullable: form.nullable,
                    tags: form.tags,
                    domain: form.domain,
                })
            })
            .collect::<Result<_, D::Error>>()?;
        Ok(Schema { columns })
    }
}
