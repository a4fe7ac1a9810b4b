use std::fs::File;
use std::path::Path;

use arrow::array::{
    Date32Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use tempfile::tempdir;

use super::*;
use crate::parquet::read_back::rows_of;
use crate::parquet::table_writer::TableWriter;

/// Writes and reads back a column: its bytes, the array read, and the page encodings of the first row group.
fn there_and_back(array: &ArrayRef, path: &Path) -> (ArrayRef, Vec<Encoding>) {
    let batch = RecordBatch::try_from_iter([("n", Arc::clone(array))]).unwrap();
    let mut writer = TableWriter::create(path, batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let read = rows_of(&writer.finish().unwrap()).unwrap();
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let group = file.get_row_group(0).unwrap();
    let pages = group.get_column_page_reader(0).unwrap();
    let pages = pages.map(Result::unwrap).filter(Page::is_data_page);
    (Arc::clone(read.column(0)), pages.map(|page| page.encoding()).collect())
}

#[test]
fn every_type_comes_back_with_and_without_nulls() {
    let folder = tempdir().unwrap();
    let number = |row: i64| row * 7919 % 1009 - 500;
    let some = |row: i64| (row % 3 > 0).then(|| number(row));
    let days = |row: i64| number(row) as i32;
    let rows = || 0..100_000_i64;
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows().map(number))),
        Arc::new(rows().map(some).collect::<Int64Array>()),
        Arc::new(Int32Array::from_iter_values(rows().map(days))),
        Arc::new(rows().map(|row| some(row).map(|n| n as i32)).collect::<Int32Array>()),
        Arc::new(rows().map(|row| some(row).map(|n| n as i32)).collect::<Date32Array>()),
        Arc::new(
            rows()
                .map(some)
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(UInt32Array::from_iter_values(rows().map(|row| (row * 65_537) as u32))),
        Arc::new(UInt64Array::from_iter_values(
            rows().map(|row| u64::MAX - row as u64 % 5),
        )),
        Arc::new(Int32Array::from_iter_values(
            rows().map(|row| (row * 0x9E37_79B1) as i32),
        )),
        Arc::new(
            (0..400_000_i64)
                .map(|row| (row % 9 > 0).then_some((row * 0x9E37_79B1) as i32))
                .collect::<Int32Array>(),
        ),
        Arc::new(Int64Array::from(vec![7; 70_000])),
        Arc::new(Int64Array::from(vec![None; 70_000])),
        Arc::new(Int64Array::from(vec![None, Some(i64::MIN), Some(i64::MAX), Some(0)])),
    ];
    for array in arrays {
        let (back, _) = there_and_back(&array, &folder.path().join("n.parquet"));
        assert_eq!(&back, &array);
        // The rows of a slice are not all rows of its buffers.
        let part = array.slice(1, array.len() - 2);
        assert_eq!(&there_and_back(&part, &folder.path().join("n.parquet")).0, &part);
    }
}

#[test]
fn a_dictionary_that_gains_nothing_is_given_up() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("n.parquet");
    let encodings = |values: Vec<i64>| {
        let array: ArrayRef = Arc::new(Int64Array::from(values));
        let (back, encodings) = there_and_back(&array, &path);
        assert_eq!(&back, &array);
        encodings
    };
    let places = Encoding::RLE_DICTIONARY;
    let differences = Encoding::DELTA_BINARY_PACKED;
    let spread = |value: i64| value.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64);
    assert_eq!(encodings((0..80_000).collect()), [differences; 3]);
    assert_eq!(
        encodings((0..80_000).map(|row| row * 1_000_000_007).collect()),
        [differences; 3]
    );
    assert_eq!(
        encodings((0..80_000_i64).map(|row| spread((row % 20_000).pow(2))).collect()),
        [places; 3]
    );
    // The fourth page completes 2^17 distinct integers.
    let many = encodings((0..200_000).map(|row| spread(row * row)).collect());
    assert_eq!(many, [&[places; 4][..], &[differences; 3]].concat());
}

#[test]
fn the_file_says_what_it_holds() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("n.parquet");
    let values = (0..50_000).map(|row| (row % 5 > 0).then_some(row % 100 - 30));
    there_and_back(&(Arc::new(values.collect::<Int32Array>()) as ArrayRef), &path);
    let options = ReadOptionsBuilder::new().with_page_index().build();
    let file = SerializedFileReader::new_with_options(File::open(&path).unwrap(), options).unwrap();
    let column = file.metadata().row_group(0).column(0);
    let Some(Statistics::Int32(found)) = column.statistics() else {
        panic!("statistics of 32-bit integers")
    };
    assert_eq!((found.min_opt(), found.max_opt()), (Some(&-29), Some(&69)));
    assert_eq!(found.null_count_opt(), Some(10_000));
    assert_eq!(column.num_values(), 50_000);
    let index = &file.metadata().offset_index().unwrap()[0][0];
    let rows: Vec<i64> = index.page_locations().iter().map(|page| page.first_row_index).collect();
    assert_eq!(rows, [0, PAGE_ROWS as i64]);
}

#[test]
fn a_null_where_there_may_be_none_is_an_error() {
    let folder = tempdir().unwrap();
    let field = arrow::datatypes::Field::new("n", DataType::Int64, true);
    let nullable = Arc::new(arrow::datatypes::Schema::new(vec![field.clone()]));
    let strict = Arc::new(arrow::datatypes::Schema::new(vec![field.with_nullable(false)]));
    let batch = RecordBatch::try_new(nullable, vec![Arc::new(Int64Array::from(vec![Some(1), None]))]).unwrap();
    let mut writer = TableWriter::create(&folder.path().join("n.parquet"), strict).unwrap();
    let failed = writer.write(&batch).err().map_or_else(|| writer.finish().err(), Some);
    assert!(failed.unwrap().to_string().contains("`n` may not be null"));
}
