//! Embedding tables in safetensors files.
//!
//! A file starts with the length of its header (u64, little-endian) and the JSON header with the type, shape and
//! offsets of each tensor, so the vector width is known without reading the data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use arrow::array::{ArrayRef, AsArray, Float16Array};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use crate::features::vector::embedding_table::{Vectors, wrong};
use towline_api::{OperatorError, Result};

/// Maximum header length of the format.
const LONGEST: u64 = 100_000_000;

#[derive(Deserialize)]
struct TensorInfo {
    dtype: String,
    shape: Vec<usize>,
}

/// Two-dimensional tensors with their widths.
fn tables(path: &Path) -> Result<BTreeMap<String, usize>> {
    let mut file = File::open(path).map_err(OperatorError::io(path))?;
    let cut = |_| wrong(path, "its header is truncated");
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(cut)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        return Err(wrong(path, "its safetensors header is invalid"));
    }
    let mut header = Vec::new();
    file.take(length)
        .read_to_end(&mut header)
        .map_err(OperatorError::io(path))?;
    let header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|_| wrong(path, "its safetensors header is invalid"))?;
    let table = |(name, entry): (String, serde_json::Value)| {
        let entry: TensorInfo = serde_json::from_value(entry).ok()?;
        let [_, width] = entry.shape[..] else { return None };
        let number = ["F64", "F32", "F16", "BF16"].contains(&entry.dtype.as_str());
        (number && width > 0 && i32::try_from(width).is_ok()).then_some((name, width))
    };
    Ok(header.into_iter().filter_map(table).collect())
}

/// The only table, or the one named `wanted`, with its width.
fn the_one(path: &Path, wanted: Option<&str>) -> Result<(String, usize)> {
    let tables = tables(path)?;
    let names = || tables.keys().map(String::as_str).collect::<Vec<_>>();
    match (wanted, tables.len()) {
        (Some(name), _) => {
            let found = tables.get_key_value(name).map(|(name, width)| (name.clone(), *width));
            found.ok_or_else(|| {
                let help = towline_api::suggest::sentence(name, &names(), "tensors");
                wrong(path, &format!("there is no tensor `{name}` of two dimensions; {help}"))
            })
        }
        (None, 0) => Err(wrong(
            path,
            "it has no tensor of floating-point numbers with two dimensions",
        )),
        (None, 1) => Ok(tables.into_iter().next().unwrap_or_default()),
        (None, _) => {
            let text = format!(
                "it has several tables ({}): select one with `tensor`",
                names().join(", ")
            );
            Err(wrong(path, &text))
        }
    }
}

/// Vector width, from the header.
pub(crate) fn width(path: &Path, tensor: Option<&str>) -> Result<usize> {
    the_one(path, tensor).map(|(_, width)| width)
}

/// Reads the vectors; the row index is the id.
pub(crate) fn read(path: &Path, tensor: Option<&str>) -> Result<Vectors> {
    let (name, width) = the_one(path, tensor)?;
    let bytes = std::fs::read(path).map_err(OperatorError::io(path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| wrong(path, &error.to_string()))?;
    let view = file.tensor(&name).map_err(|error| wrong(path, &error.to_string()))?;
    let data = view.data();
    let numbers = match view.dtype() {
        Dtype::F64 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b) as f32)
            .collect(),
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        // bfloat16 is the upper half of a float32.
        Dtype::BF16 => {
            let halves = data.as_chunks().0.iter().map(|b| u32::from(u16::from_le_bytes(*b)));
            halves.map(|bits| f32::from_bits(bits << 16)).collect()
        }
        Dtype::F16 => {
            let halves = ScalarBuffer::new(Buffer::from(data), 0, data.len() / 2);
            let halves: ArrayRef = std::sync::Arc::new(Float16Array::new(halves, None));
            let numbers = cast(&halves, &DataType::Float32)?;
            numbers.as_primitive::<Float32Type>().values().to_vec()
        }
        other => return Err(wrong(path, &format!("`{name}` holds {other:?}"))),
    };
    Ok(Vectors {
        width,
        numbers,
        ids: None,
    })
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn file(folder: &tempfile::TempDir, tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> std::path::PathBuf {
        let path = folder.path().join("v.safetensors");
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        path
    }

    #[test]
    fn every_type_of_floating_point_numbers_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = [1.5_f32, -2.0, 0.25, 8.0];
        // 1.5, -2, 0.25 and 8 in float16.
        let halves: Vec<u8> = [0x3e00_u16, 0xc000, 0x3400, 0x4800]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let of = |bytes: fn(f32) -> Vec<u8>| numbers.iter().flat_map(|x| bytes(*x)).collect::<Vec<u8>>();
        for (dtype, data) in [
            (Dtype::F32, of(|x| x.to_le_bytes().to_vec())),
            (Dtype::F64, of(|x| f64::from(x).to_le_bytes().to_vec())),
            (Dtype::BF16, of(|x| x.to_le_bytes()[2..].to_vec())),
            (Dtype::F16, halves),
        ] {
            let bias = ("bias", Dtype::F32, vec![1], vec![0; 4]);
            let path = file(&folder, &[("vectors", dtype, vec![2, 2], data), bias]);
            assert_eq!(width(&path, None).unwrap(), 2);
            let found = read(&path, None).unwrap();
            assert_eq!(
                (found.width, found.numbers, found.ids.is_none()),
                (2, numbers.to_vec(), true),
                "{dtype:?}"
            );
        }
    }

    #[test]
    fn of_several_tensors_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let table = |name, width: usize| (name, Dtype::F32, vec![1, width], vec![0; 4 * width]);
        let path = file(&folder, &[table("items", 3), table("users", 2)]);
        let error = width(&path, None).unwrap_err().to_string();
        assert!(error.contains("items, users") && error.contains("`tensor`"), "{error}");
        assert_eq!(width(&path, Some("users")).unwrap(), 2);
        let error = width(&path, Some("user")).unwrap_err().to_string();
        assert!(error.contains("users"), "{error}");
        for bytes in [&b""[..], b"\x08\0\0\0\0\0\0\0{}", &[255; 16]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(width(&path, None).is_err());
        }
    }
}
