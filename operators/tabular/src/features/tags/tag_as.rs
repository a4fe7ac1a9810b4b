//! `TagAsUserID`, `TagAsItemID`, `TagAsUserFeatures`, `TagAsItemFeatures`: assign columns to the user or the item.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::tags::tagging::{Unchanged, tagged_type};
use towline_api::{
    DatasetPort, Describe, Form, Inputs, NodeType, Operator, Port, Problem, Purity, Result, Tag, TypeContext,
};

/// Tags its column as the user id (`user`, `id`). An encoded column keeps the tag `categorical`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagAsUserID {}

const USER_ID: DatasetPort = DatasetPort::required("input", "The user's id.");

impl Describe for TagAsUserID {
    const NAME: &'static str = "TagAsUserID";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[USER_ID.port()];
    const EXAMPLE: &'static str = "op: TagAsUserID\ninput: clicks[user_id]\n";
}

impl Operator for TagAsUserID {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        tagged_type(USER_ID, inputs, &[Tag::User, Tag::Id])
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(&Unchanged)
    }
}

/// Tags its column as the item id (`item`, `id`). An encoded column keeps the tag `categorical`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagAsItemID {}

const ITEM_ID: DatasetPort = DatasetPort::required("input", "The item's id.");

impl Describe for TagAsItemID {
    const NAME: &'static str = "TagAsItemID";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[ITEM_ID.port()];
    const EXAMPLE: &'static str = "op: TagAsItemID\ninput: clicks[item_id]\n";
}

impl Operator for TagAsItemID {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        tagged_type(ITEM_ID, inputs, &[Tag::Item, Tag::Id])
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(&Unchanged)
    }
}

/// Tags its columns as user features (`user`).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagAsUserFeatures {}

const USER_FEATURES: DatasetPort = DatasetPort::required("input", "The user's features.");

impl Describe for TagAsUserFeatures {
    const NAME: &'static str = "TagAsUserFeatures";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[USER_FEATURES.port()];
    const EXAMPLE: &'static str = "op: TagAsUserFeatures\ninput: clicks[user_age]\n";
}

impl Operator for TagAsUserFeatures {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        tagged_type(USER_FEATURES, inputs, &[Tag::User])
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(&Unchanged)
    }
}

/// Tags its columns as item features (`item`).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagAsItemFeatures {}

const ITEM_FEATURES: DatasetPort = DatasetPort::required("input", "The item's features.");

impl Describe for TagAsItemFeatures {
    const NAME: &'static str = "TagAsItemFeatures";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[ITEM_FEATURES.port()];
    const EXAMPLE: &'static str = "op: TagAsItemFeatures\ninput: clicks[item_brand]\n";
}

impl Operator for TagAsItemFeatures {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        tagged_type(ITEM_FEATURES, inputs, &[Tag::Item])
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(&Unchanged)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::prelude::SessionContext;

    use super::*;
    use towline_api::{Code, Column, DatasetType, Input, Schema};

    fn typed(operator: &dyn Operator, tags: &[Tag]) -> Result<NodeType, Vec<Problem>> {
        let mut column = Column::new("x", DataType::Int64, false);
        column.tags.extend(tags);
        let value = NodeType::Dataset(DatasetType {
            schema: Schema { columns: vec![column] },
            splits: vec!["train".into()],
        });
        let inputs = Inputs(vec![Input {
            port: "input",
            label: "x".into(),
            value,
        }]);
        operator.output_type(
            &inputs,
            &TypeContext {
                session: SessionContext::new(),
                offline: false,
            },
        )
    }

    #[test]
    fn an_encoded_id_stays_categorical() {
        let NodeType::Dataset(out) = typed(&TagAsUserID {}, &[Tag::Categorical]).unwrap() else {
            panic!("a dataset")
        };
        assert!(out.schema.columns[0].has(&[Tag::User, Tag::Id, Tag::Categorical]));
    }

    #[test]
    fn a_contradiction_is_an_error() {
        for (operator, tag) in [
            (&TagAsItemID {} as &dyn Operator, Tag::Continuous),
            (&TagAsItemID {}, Tag::User),
            (&TagAsUserFeatures {}, Tag::Item),
            (&TagAsItemFeatures {}, Tag::User),
        ] {
            assert_eq!(typed(operator, &[tag]).unwrap_err()[0].code, Code::TagConflict);
        }
    }
}
