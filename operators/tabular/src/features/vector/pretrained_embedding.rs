//! `PretrainedEmbedding`: looks up pretrained embeddings by id.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, Float32Array, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::categorical::categorify::keys::{Keys, Values, value_type};
use crate::features::vector::embedding_table::Vectors;
use crate::features::vector::vectors::width;
use towline_api::{
    Code, Column, Columns, DatasetPort, DatasetType, Describe, Form, Inputs, NamedExpr, NodeType, Operator,
    OperatorError, Outside, Port, Problem, Purity, Result, Schema, Tag, TypeContext,
};
use towline_tables::array_function::array_function;

/// Looks up pretrained embeddings: the output is one column with the vector of each row's id.
///
/// The file is a NumPy array (`.npy`: two dimensions, `float32` or `float64`) or a tensor in a `.safetensors` file (two
/// dimensions, `F64`, `F32`, `F16` or `BF16`), indexed by id, or a Parquet file with a column `id` and a column
/// `vector` of lists of equal length. An id that is not in the file gets a zero vector. Vectors are fixed-size lists of
/// `Float32`, tagged `embedding` and `user` or `item` like the id. They are frozen: a model uses them as input
/// features. To fine-tune them, use them as initial weights (`initial` of `TwoTowerTrain`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PretrainedEmbedding {
    /// The embedding file, for example `data/item_vectors.npy`.
    #[schemars(transform = towline_api::cache_ignored)]
    pub path: PathBuf,
    /// Name of the output column.
    #[serde(default = "embedding")]
    pub name: String,
    /// Tensor name in a `.safetensors` file with several tables, for example `item.embedding.item_id`.
    #[serde(default)]
    pub tensor: Option<String>,
}

fn embedding() -> String {
    "embedding".to_owned()
}

const INPUT: DatasetPort = DatasetPort::required("input", "One column of original ids.");

impl Describe for PretrainedEmbedding {
    const NAME: &'static str = "PretrainedEmbedding";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: PretrainedEmbedding\ninput: clicks[item_id]\nwith: { path: data/item_vectors.npy }\n";

    fn check(&self) -> Vec<Problem> {
        let tensors = self
            .path
            .extension()
            .is_some_and(|extension| extension == "safetensors");
        if self.tensor.is_some() && !tensors {
            return vec![Problem::new(Code::Conflict, "`tensor` needs a `.safetensors` file").at("tensor")];
        }
        Vec::new()
    }
}

fn vector_type(width: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), width as i32)
}

impl Operator for PretrainedEmbedding {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let [id] = input.schema.columns.as_slice() else {
            let message = format!("it needs exactly one column, not {}", input.schema.columns.len());
            return Err(vec![Problem::new(Code::BadInput, message).at_port("input")]);
        };
        if value_type(&id.data_type).is_none() {
            let message = format!("column `{}` holds {}, which cannot be an id", id.name, id.data_type);
            return Err(vec![Problem::new(Code::WrongType, message).at_port("input")]);
        }
        let width = width(&self.path, self.tensor.as_deref())
            .map_err(|error| vec![Problem::new(Code::BadSource, error.to_string()).at("path")])?;
        let mut column = Column::new(&self.name, vector_type(width), false).with_tag(Tag::Embedding);
        column.tags.extend(id.tags.iter().copied().filter(|tag| tag.is_side()));
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema { columns: vec![column] },
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }

    fn outside(&self) -> Result<Outside> {
        Ok(Outside {
            files: vec![self.path.clone()],
            ..Outside::default()
        })
    }
}

impl Columns for PretrainedEmbedding {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let columns = inputs.concat();
        let id = columns
            .first()
            .ok_or_else(|| OperatorError::internal("there is no column of ids"))?;
        let digest = file_digest(&self.path)?;
        let table = Arc::new(VectorTable::of(Vectors::read(&self.path, self.tensor.as_deref())?)?);
        let name = match &self.tensor {
            Some(tensor) => format!("pretrained_{digest}_{tensor}"),
            None => format!("pretrained_{digest}"),
        };
        let output = vector_type(table.width);
        let body = move |arrays: &[ArrayRef]| table.lookup(&arrays[0]);
        Ok(vec![NamedExpr {
            name: self.name.clone(),
            expr: array_function(name, output, false, vec![id.expr.clone()], body),
        }])
    }
}

fn file_digest(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = std::fs::File::open(path).map_err(OperatorError::io(path))?;
    std::io::copy(&mut file, &mut hasher).map_err(OperatorError::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Vectors, and the row of each id.
struct VectorTable {
    width: usize,
    numbers: Vec<f32>,
    values: Option<Values>,
    places: HashMap<Box<[u8]>, u32>,
}

/// Bytes of each key, `None` for null.
fn key_bytes(keys: &Keys) -> Vec<Option<Box<[u8]>>> {
    match keys {
        Keys::Numbers(numbers) => numbers
            .iter()
            .map(|key| key.map(|key| Box::from(key.to_le_bytes())))
            .collect(),
        Keys::Bytes(bytes) => bytes.iter().map(|key| key.map(Box::from)).collect(),
    }
}

impl VectorTable {
    fn of(vectors: Vectors) -> Result<Self> {
        let Vectors { width, numbers, ids } = vectors;
        let Some(ids) = ids else {
            return Ok(VectorTable {
                width,
                numbers,
                values: None,
                places: HashMap::new(),
            });
        };
        let kept = value_type(ids.data_type());
        let kept = kept
            .ok_or_else(|| OperatorError::invalid(format!("`id` holds {}, which cannot be an id", ids.data_type())))?;
        let values = Values::of(&kept);
        let mut places = HashMap::new();
        for (place, key) in (0..).zip(key_bytes(&values.keys(&[ids])?)) {
            let key = key.ok_or_else(|| OperatorError::invalid("`id` has a missing value"))?;
            if places.insert(key, place).is_some() {
                return Err(OperatorError::invalid("`id` has a duplicate value"));
            }
        }
        Ok(VectorTable {
            width,
            numbers,
            values: Some(values),
            places,
        })
    }

    fn lookup(&self, ids: &ArrayRef) -> Result<ArrayRef> {
        let rows = self.numbers.len() / self.width.max(1);
        let places: UInt32Array = match &self.values {
            Some(values) => {
                if !values.accepts(&[ids.data_type()]) {
                    let message = format!(
                        "the ids are {}, but those of the file are {}",
                        ids.data_type(),
                        values.data_type()
                    );
                    return Err(OperatorError::invalid(message));
                }
                let keys = key_bytes(&values.keys(std::slice::from_ref(ids))?);
                keys.iter().map(|key| self.places.get(key.as_ref()?).copied()).collect()
            }
            None => {
                let whole = arrow::compute::cast(ids, &DataType::UInt32)?;
                let whole = arrow::array::AsArray::as_primitive::<arrow::datatypes::UInt32Type>(&whole);
                whole.iter().map(|id| id.filter(|id| (*id as usize) < rows)).collect()
            }
        };
        let mut out = vec![0.0; places.len() * self.width];
        for (row, vector) in out.chunks_mut(self.width.max(1)).enumerate() {
            if places.is_valid(row) {
                let start = places.value(row) as usize * self.width;
                vector.copy_from_slice(&self.numbers[start..start + self.width]);
            }
        }
        let field = Arc::new(Field::new_list_field(DataType::Float32, false));
        let values: ArrayRef = Arc::new(Float32Array::from(out));
        let none: Option<NullBuffer> = None;
        Ok(Arc::new(FixedSizeListArray::try_new(
            field,
            self.width as i32,
            values,
            none,
        )?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run, try_run};
    use towline_tables::TableWriter;

    fn npy(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("v.npy");
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let padded = format!("{header:<117}\n");
        bytes.extend((padded.len() as u16).to_le_bytes());
        bytes.extend(padded.bytes());
        (0..6).for_each(|v| bytes.extend(f64::from(v).to_le_bytes()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn rows_of_an_array_and_zeros_for_what_it_does_not_have() {
        let folder = tempfile::tempdir().unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(7), None, Some(0), Some(-1)]));
        let data = Data::of([("item", ids)]).tagged("item", &[Tag::Item, Tag::Id]);
        let ran = run::<PretrainedEmbedding>(json!({"path": npy(&folder)}), &[("input", data)]);
        let zeros = "[0.0, 0.0, 0.0]";
        assert_eq!(
            ran.rows("train"),
            format!("[3.0, 4.0, 5.0]; {zeros}; {zeros}; [0.0, 1.0, 2.0]; {zeros}")
        );
        assert_eq!(ran.tags("embedding"), [Tag::Item, Tag::Embedding]);
    }

    #[test]
    fn vectors_by_id_in_parquet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.parquet");
        let vectors = arrow::array::ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>([
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(3.0), Some(4.0)]),
        ]);
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["b", "a"]));
        let batch =
            arrow::array::RecordBatch::try_from_iter([("id", ids), ("vector", Arc::new(vectors) as ArrayRef)]).unwrap();
        let mut writer = TableWriter::create(&path, batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let items: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("z"), None]));
        let data = Data::of([("item", items)]);
        let ran = run::<PretrainedEmbedding>(json!({"path": path, "name": "v"}), &[("input", data)]);
        assert_eq!(ran.rows("train"), "[3.0, 4.0]; [0.0, 0.0]; [0.0, 0.0]");
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let error = try_run::<PretrainedEmbedding>(json!({"path": path}), &[("input", Data::of([("item", numbers)]))]);
        assert!(error.err().unwrap().contains("Utf8"));
    }

    #[test]
    fn what_is_no_table_of_vectors_is_found_without_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.npy");
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        for bytes in [
            &b""[..],
            b"\x93NUMPY\x01\x00\xff\xff",
            b"PAR1",
            b"\x93NUMPY\x01\x00\x02\x00{}",
        ] {
            std::fs::write(&path, bytes).unwrap();
            let data = Data::of([("item", Arc::clone(&ids))]);
            assert_eq!(
                codes::<PretrainedEmbedding>(json!({"path": path}), &[("input", data)]),
                ["bad-source"]
            );
        }
    }
}
