//! `AddTags`: adds tags to columns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::tags::tagging::{Unchanged, clash, tagged_type};
use towline_api::{
    DatasetPort, Describe, Form, Inputs, NodeType, Operator, Port, Problem, Purity, Result, Tag, TypeContext,
};

/// Adds tags to every input column; the values are unchanged. A tag that contradicts an existing one is an error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddTags {
    /// Tags to add, for example `[target]` or `[user, continuous]`.
    pub tags: Vec<Tag>,
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to tag.");

impl Describe for AddTags {
    const NAME: &'static str = "AddTags";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: AddTags\ninput: clicks[click]\nwith: { tags: [target] }\n";

    fn check(&self) -> Vec<Problem> {
        clash(&self.tags).into_iter().collect()
    }
}

impl Operator for AddTags {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        tagged_type(INPUT, inputs, &self.tags)
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(&Unchanged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towline_api::{Code, Descriptor, Site};

    #[test]
    fn tags_that_contradict_each_other_are_refused_before_any_input() {
        let config = serde_json::json!({ "tags": ["user", "item"] });
        let problems = Descriptor::of::<AddTags>().build(&config).map(|_| ()).unwrap_err();
        assert_eq!(problems[0].code, Code::TagConflict);
        assert!(matches!(problems[0].site, Site::Config(_)));
    }
}
