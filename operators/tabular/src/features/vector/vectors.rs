//! Reads embedding tables from NumPy, safetensors and Parquet files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};

use crate::features::vector::embedding_table::{Vectors, wrong};
use crate::features::vector::safe_tensors;
use towline_api::{OperatorError, Result, TableFile};

/// File formats, by extension.
enum VectorFormat {
    Parquet,
    SafeTensors,
    NumPy,
}

impl VectorFormat {
    fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => VectorFormat::Parquet,
            Some("safetensors") => VectorFormat::SafeTensors,
            _ => VectorFormat::NumPy,
        }
    }
}

/// Vector width, from the file's header or its first row.
pub(crate) fn width(path: &Path, tensor: Option<&str>) -> Result<usize> {
    match VectorFormat::of(path) {
        VectorFormat::NumPy => return Ok(NumpyHeader::read(path)?.0.width),
        VectorFormat::SafeTensors => return safe_tensors::width(path, tensor),
        VectorFormat::Parquet => {}
    }
    let table = TableFile {
        path: path.to_owned(),
        rows: 0,
    };
    let first = table.batches(Some(&["id", "vector"]))?.next().transpose()?;
    let first = first.ok_or_else(|| wrong(path, "it has no rows"))?;
    let vectors = first
        .column_by_name("vector")
        .ok_or_else(|| wrong(path, "there is no column `vector`"))?;
    first
        .column_by_name("id")
        .ok_or_else(|| wrong(path, "there is no column `id`"))?;
    list_width(path, vectors)
}

/// The common length of all lists.
fn list_width(path: &Path, vectors: &ArrayRef) -> Result<usize> {
    if let DataType::FixedSizeList(_, width) = vectors.data_type() {
        return Ok(*width as usize);
    }
    let lists = vectors
        .as_list_opt::<i32>()
        .ok_or_else(|| wrong(path, "`vector` does not hold lists"))?;
    let first = if lists.is_empty() { 0 } else { lists.value_length(0) };
    let same = (0..lists.len()).all(|row| lists.is_valid(row) && lists.value_length(row) == first);
    if same && first > 0 {
        Ok(first as usize)
    } else {
        Err(wrong(path, "the vectors have different lengths"))
    }
}

impl Vectors {
    /// Reads a file; `tensor` selects one of several tensors.
    pub(crate) fn read(path: &Path, tensor: Option<&str>) -> Result<Self> {
        match VectorFormat::of(path) {
            VectorFormat::Parquet => Self::in_parquet(path),
            VectorFormat::SafeTensors => safe_tensors::read(path, tensor),
            VectorFormat::NumPy => Self::in_numpy(path),
        }
    }

    fn in_parquet(path: &Path) -> Result<Self> {
        let width = width(path, None)?;
        let table = TableFile {
            path: path.to_owned(),
            rows: 0,
        };
        let (mut ids, mut numbers) = (Vec::new(), Vec::new());
        for batch in table.batches(Some(&["id", "vector"]))? {
            let batch = batch?;
            let (Some(id), Some(vectors)) = (batch.column_by_name("id"), batch.column_by_name("vector")) else {
                return Err(wrong(path, "there are no columns `id` and `vector`"));
            };
            if list_width(path, vectors)? != width {
                return Err(wrong(path, "the vectors have different lengths"));
            }
            let fixed = DataType::FixedSizeList(
                std::sync::Arc::new(Field::new_list_field(DataType::Float32, true)),
                width as i32,
            );
            let vectors = cast(vectors, &fixed)?;
            let values = vectors.as_fixed_size_list().values().as_primitive::<Float32Type>();
            if values.null_count() > 0 {
                return Err(wrong(path, "a number is missing"));
            }
            numbers.extend_from_slice(values.values());
            ids.push(id.clone());
        }
        let parts: Vec<&dyn Array> = ids.iter().map(AsRef::as_ref).collect();
        Ok(Vectors {
            width,
            numbers,
            ids: Some(concat(&parts)?),
        })
    }

    fn in_numpy(path: &Path) -> Result<Self> {
        let (header, mut file) = NumpyHeader::read(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(OperatorError::io(path))?;
        let size = if header.double { 8 } else { 4 };
        if bytes.len() != header.rows * header.width * size {
            return Err(wrong(path, "its length does not match its header"));
        }
        let number = |chunk: &[u8]| match <[u8; 8]>::try_from(chunk) {
            Ok(double) => f64::from_le_bytes(double) as f32,
            Err(_) => f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]),
        };
        Ok(Vectors {
            width: header.width,
            numbers: bytes.chunks_exact(size).map(number).collect(),
            ids: None,
        })
    }
}

/// The header of a NumPy file.
struct NumpyHeader {
    double: bool,
    rows: usize,
    width: usize,
}

impl NumpyHeader {
    /// Reads the header and leaves the file at the first value. Format: NumPy's NEP 1, versions 1 to 3.
    fn read(path: &Path) -> Result<(Self, File)> {
        let mut file = File::open(path).map_err(OperatorError::io(path))?;
        let mut start = [0; 8];
        file.read_exact(&mut start)
            .map_err(|_| wrong(path, "it is neither `.parquet` nor `.safetensors` nor `.npy`"))?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(wrong(path, "it is neither `.parquet` nor `.safetensors` nor `.npy`"));
        }
        let cut = |_| wrong(path, "it ends in its head");
        let length = if start[6] == 1 {
            let mut length = [0; 2];
            file.read_exact(&mut length).map_err(cut)?;
            usize::from(u16::from_le_bytes(length))
        } else {
            let mut length = [0; 4];
            file.read_exact(&mut length).map_err(cut)?;
            (u32::from_le_bytes(length) as usize).min(1 << 20)
        };
        let mut head = vec![0; length];
        file.read_exact(&mut head).map_err(cut)?;
        let head = String::from_utf8_lossy(&head).into_owned();
        let double = head.contains("'<f8'");
        if !double && !head.contains("'<f4'") {
            return Err(wrong(path, "its numbers are neither float32 nor float64"));
        }
        if head.contains("'fortran_order': True") {
            return Err(wrong(path, "it is in Fortran order; save it with np.ascontiguousarray"));
        }
        let shape = head.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next());
        let shape: Vec<usize> = shape
            .into_iter()
            .flat_map(|shape| shape.split(','))
            .filter_map(|part| part.trim().parse().ok())
            .collect();
        match shape.as_slice() {
            [rows, width] if *width > 0 && i32::try_from(*width).is_ok() => Ok((
                NumpyHeader {
                    double,
                    rows: *rows,
                    width: *width,
                },
                file,
            )),
            _ => Err(wrong(path, "it does not have two dimensions")),
        }
    }
}

/// Numbers as doubles, null as NaN.
pub(crate) fn doubles(array: &ArrayRef) -> Result<Vec<f64>> {
    let numbers = cast(array, &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>().iter();
    Ok(numbers.map(|number| number.unwrap_or(f64::NAN)).collect())
}
