//! Embedding tables initialised with pretrained vectors.

use std::collections::BTreeMap;

use crate::data::feature_column::{FeatureColumn, FeatureKind};
use crate::data::feature_table::FeatureTable;
use crate::data::tower_columns::TowerColumns;
use crate::towers::towers::Towers;
use crate::train::two_tower_train::TwoTowerTrain;
use towline_api::{Code, OperatorError, PADDING_ID, Problem, Result, suggest};

impl TwoTowerTrain {
    /// Whether this column of vectors only initialises the table of another column.
    pub(crate) fn is_initial_vector(&self, column: &str) -> bool {
        self.initial.values().any(|vectors| vectors == column)
    }

    /// Problems of `initial` with these columns.
    pub(crate) fn initial_problems(&self, sides: &TowerColumns) -> Vec<Problem> {
        let mut problems = Vec::new();
        let (_, item) = self.tower_columns(sides);
        let ids = item
            .iter()
            .filter(|column| FeatureKind::of(column) == Some(FeatureKind::IdFeatures) && !column.is_list());
        let ids: Vec<&str> = ids.map(|column| column.name.as_str()).collect();
        let vectors = sides
            .item
            .iter()
            .filter(|column| FeatureKind::of(column) == Some(FeatureKind::Vector));
        let vectors: Vec<&str> = vectors.map(|column| column.name.as_str()).collect();
        for (of, from) in &self.initial {
            for (name, known, what) in [
                (of, &ids, "a column with one embedding a row"),
                (from, &vectors, "a column of vectors"),
            ] {
                if !known.contains(&name.as_str()) {
                    let text = format!("the items have no `{name}` that is {what}");
                    let help = suggest::sentence(name, known, "columns");
                    problems.push(Problem::new(Code::UnknownColumn, text).at("initial").help(help));
                }
            }
            if self.embedding_dims.contains_key(of) {
                let text = format!("the embeddings of `{of}` are as wide as the vectors of `{from}`");
                problems.push(Problem::new(Code::Conflict, text).at("embedding_dims"));
            }
        }
        problems
    }

    /// Widths of the embeddings that vectors of `items` initialise.
    pub(crate) fn initial_widths(&self, items: &FeatureTable) -> Result<BTreeMap<&str, usize>> {
        let mut widths = BTreeMap::new();
        for (of, from) in &self.initial {
            if let FeatureColumn::Dense(vectors) = items.cells(from)? {
                if self.layers.is_empty() && vectors.width != self.added_width() {
                    return Err(OperatorError::invalid(format!(
                        "the vectors of `{from}` have {} numbers, but without layers all embeddings are {} wide: set \
                         `embedding_dim`, or give the towers `layers`",
                        vectors.width,
                        self.added_width()
                    )));
                }
                widths.insert(of.as_str(), vectors.width);
            }
        }
        Ok(widths)
    }

    /// Initialises embedding tables with vectors of `items`. Of several rows with one id the first counts.
    pub(crate) fn initialise_tables(&self, towers: &mut Towers, items: &FeatureTable) -> Result<()> {
        for (of, from) in &self.initial {
            let shapes = towers.item.shape.embeddings.iter().zip(&towers.item.tables);
            let Some((dim, place)) = shapes
                .filter(|(shape, _)| shape.column == *of)
                .map(|(shape, place)| (shape.dim, *place))
                .next()
            else {
                continue;
            };
            let (ids, vectors) = (items.single(of)?, items.numbers(from, dim)?);
            let table = &mut towers.tables[place];
            for (row, &id) in ids.iter().enumerate().rev().filter(|(_, id)| **id != PADDING_ID) {
                table[id as usize * dim..][..dim].copy_from_slice(vectors.row(row));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, FixedSizeListArray, Float32Array};
    use arrow::datatypes::{DataType, Field, Int64Type};
    use serde_json::{Value, json};

    use super::*;
    use crate::tests::fixture::*;
    use crate::tests::input_tests::*;
    use towline_api::{Column, DatasetFiles, Tag};

    /// A vector for each item, of four numbers that say which it is.
    fn with_vectors(fixture: &Fixture, name: &str) -> DatasetFiles {
        let vector = Column::new("vector", vector_type(4), false).with_tag(Tag::Item);
        data(fixture, name, &[vector], |batch| {
            let items = batch.column(2).as_primitive::<Int64Type>().values().iter();
            let numbers = items.flat_map(|item| (0..4).map(move |place| number_of(*item, place)));
            let element = Arc::new(Field::new_list_field(DataType::Float32, false));
            let numbers = Arc::new(Float32Array::from_iter_values(numbers));
            vec![Arc::new(FixedSizeListArray::new(element, 4, numbers, None))]
        })
    }

    fn number_of(item: i64, place: usize) -> f32 {
        (item as f32 / 100.0 + place as f32) / 10.0
    }

    #[test]
    fn vectors_initialise_the_table_and_are_no_input() {
        let fixture = Fixture::new();
        let data = with_vectors(&fixture, "vectors");
        let still =
            json!({ "id_embedding": "both", "initial": { "item": "vector" }, "epochs": 1, "learning_rate": 1e-30 });
        let (loaded, _) = load(try_train(&fixture, "still", &data, &still).unwrap());
        let item = &loaded.towers().unwrap().item;
        assert_eq!(item.shape.parts(), [("item", 0, 4)]);
        let table = &loaded.towers().unwrap().tables[item.tables[0]];
        for item in FIRST..FIRST + ITEMS {
            for place in 0..4 {
                assert_eq!(table[item as usize * 4 + place], number_of(item, place), "{item}");
            }
        }
        let moving = json!({ "id_embedding": "both", "initial": { "item": "vector" } });
        let (moved, _) = load(try_train(&fixture, "moving", &data, &moving).unwrap());
        assert_ne!(&moved.towers().unwrap().tables[item.tables[0]], table);
    }

    #[test]
    fn invalid_initial_vectors_are_reported() {
        let fixture = Fixture::new();
        let data = with_vectors(&fixture, "vectors");
        let problems = |settings: Value| -> Vec<String> {
            let operator: TwoTowerTrain = config(crate::tests::input_tests::settings(&settings));
            let sides = TowerColumns::of(&data.schema).unwrap();
            let problems = operator.inputs_of_towers(&sides).into_iter();
            problems.map(|problem| problem.message).collect()
        };
        let found = problems(json!({ "id_embedding": "both", "initial": { "itm": "vectors" } }));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("no `itm`") && found[1].contains("no `vectors`"),
            "{found:?}"
        );
        let found = problems(
            json!({ "id_embedding": "both", "initial": { "item": "vector" }, "embedding_dims": { "item": 8 } }),
        );
        assert!(
            found.len() == 1 && found[0].contains("as wide as the vectors"),
            "{found:?}"
        );
        let narrow =
            json!({ "id_embedding": "both", "initial": { "item": "vector" }, "layers": [], "embedding_dim": 8 });
        let error = try_train(&fixture, "narrow", &data, &narrow).unwrap_err().to_string();
        assert!(error.contains("have 4 numbers") && error.contains("8 wide"), "{error}");
    }
}
