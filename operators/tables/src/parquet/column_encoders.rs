//! Encodes the columns of a Parquet row group on several threads.
//!
//! One thread at a time encodes a column, in row order, so the bytes do not depend on the number of threads or their
//! timing.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedRowGroupWriter;

use crate::parquet::number_column::{NumberChunk, NumberColumn, NumberFormat};

/// Capacity of a column's queue: enough to keep every thread busy, small enough to bound memory.
const WAITING: usize = 8;
/// Arrays of a column that a thread encodes per turn: fewer lock operations.
const IN_A_ROW: usize = 4;
/// Arrays of a column before helper threads start: a small file is written before a thread has started.
const ALONE: usize = 4;

/// Encodes columns on the calling thread and, for large tables, on helper threads.
pub(crate) struct Encoders {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    pieces: usize,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lanes: Vec<Lane>,
    /// Lanes with queued arrays that no thread is encoding.
    ready: VecDeque<usize>,
    /// Number of queued arrays.
    pending: usize,
    failed: Option<ParquetError>,
    over: bool,
}

/// A column of the table; a nested column has several leaf columns in the file.
struct Lane {
    field: FieldRef,
    /// The integer format, if the column has one.
    numbers: Option<NumberFormat>,
    waiting: VecDeque<Piece>,
    /// `None` while a thread has the writers, and between row groups.
    writers: Option<Writers>,
    chunks: Chunks,
}

/// The encoders of a lane in the current row group.
enum Writers {
    Numbers(Box<NumberColumn>),
    Others(Vec<ArrowColumnWriter>),
}

/// The encoded column chunks of a lane.
enum Chunks {
    Numbers(NumberChunk),
    Others(Vec<ArrowColumnChunk>),
}

impl Chunks {
    fn append(self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<()> {
        match self {
            Chunks::Numbers(chunk) => group.append_column(&chunk.bytes, chunk.close),
            Chunks::Others(chunks) => chunks
                .into_iter()
                .try_for_each(|chunk| chunk.append_to_row_group(group)),
        }
    }
}

enum Piece {
    Rows(ArrayRef),
    End,
}

/// A lane's state after encoding: the writers, or the finished chunks.
enum Encoded {
    More(Writers),
    All(Chunks),
}

impl Encoders {
    /// Encoders for the columns of a schema; `numbers` has a format for the integer columns. Call
    /// [`begin`](Self::begin) before adding rows.
    pub(crate) fn new(schema: &SchemaRef, numbers: Vec<Option<NumberFormat>>) -> Self {
        let lane = |(field, numbers): (&FieldRef, Option<NumberFormat>)| Lane {
            field: Arc::clone(field),
            numbers,
            waiting: VecDeque::new(),
            writers: None,
            chunks: Chunks::Others(Vec::new()),
        };
        let state = State {
            lanes: schema.fields().iter().zip(numbers).map(lane).collect(),
            ready: VecDeque::new(),
            pending: 0,
            failed: None,
            over: false,
        };
        Encoders {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
            helpers: Vec::new(),
            pieces: 0,
        }
    }

    /// Begins a row group; `writers` are ordered like the leaf columns of the file.
    pub(crate) fn begin(&mut self, writers: Vec<ArrowColumnWriter>) -> Result<()> {
        let mut writers = writers.into_iter();
        for lane in &mut self.shared.lock().lanes {
            let columns = writers.by_ref().take(leaves(&lane.field)).collect();
            lane.writers = Some(match &lane.numbers {
                Some(format) => Writers::Numbers(Box::new(NumberColumn::new(format)?)),
                None => Writers::Others(columns),
            });
        }
        Ok(())
    }

    /// Queues one array per column. If the queue is full, the calling thread encodes until there is room.
    pub(crate) fn push(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.pieces += 1;
        if self.pieces == ALONE {
            self.call_helpers(columns.len());
        }
        let most = if self.pieces < ALONE {
            0
        } else {
            WAITING * columns.len()
        };
        self.add(columns.iter().map(|column| Piece::Rows(Arc::clone(column))));
        self.shared.until(most)
    }

    /// Finishes the row group and appends its columns to the file.
    pub(crate) fn end(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<()> {
        let lanes = self.shared.lock().lanes.len();
        self.add((0..lanes).map(|_| Piece::End));
        self.shared.until(0)?;
        let mut state = self.shared.lock();
        let none = || Chunks::Others(Vec::new());
        let mut chunks = state
            .lanes
            .iter_mut()
            .map(|lane| std::mem::replace(&mut lane.chunks, none()));
        chunks.try_for_each(|chunks| chunks.append(group))
    }

    fn add(&self, pieces: impl Iterator<Item = Piece>) {
        let mut state = self.shared.lock();
        for (index, piece) in pieces.enumerate() {
            let lane = &mut state.lanes[index];
            let idle = lane.waiting.is_empty() && lane.writers.is_some();
            lane.waiting.push_back(piece);
            state.pending += 1;
            if idle {
                state.ready.push_back(index);
            }
        }
        self.shared.changed.notify_all();
    }

    fn call_helpers(&mut self, columns: usize) {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 1..processors.min(columns) {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("encoder".to_owned());
            // Without a helper the calling thread encodes everything.
            self.helpers.extend(thread.spawn(move || shared.help()));
        }
    }
}

impl Drop for Encoders {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper's error is stored in the state, where the next call finds it.
            drop(helper.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section can leave the state half updated, so poisoning is ignored.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes until at most `most` arrays are queued, or an error occurs.
    fn until(&self, most: usize) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.failed {
                return Err(ParquetError::General(error.to_string()));
            }
            if state.pending <= most {
                return Ok(());
            }
            state = if state.ready.is_empty() {
                self.wait(state)
            } else {
                self.encode_some(state)
            };
        }
    }

    fn help(&self) {
        let mut state = self.lock();
        while !state.over {
            state = if state.ready.is_empty() || state.failed.is_some() {
                self.wait(state)
            } else {
                self.encode_some(state)
            };
        }
    }

    /// Encodes the next arrays of the longest waiting lane, with the lock released.
    fn encode_some<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(index) = state.ready.pop_front() else {
            return state;
        };
        let lane = &mut state.lanes[index];
        let Some(writers) = lane.writers.take() else {
            return state;
        };
        let count = lane.waiting.len().min(IN_A_ROW);
        let pieces: Vec<Piece> = lane.waiting.drain(..count).collect();
        let field = Arc::clone(&lane.field);
        drop(state);
        let encoded = catch_unwind(AssertUnwindSafe(|| encode_all(&field, writers, pieces)));
        let encoded = encoded.unwrap_or_else(|_| {
            let message = format!("the encoder of column `{}` panicked", field.name());
            Err(ParquetError::General(message))
        });
        let mut state = self.lock();
        state.pending -= count;
        let lane = &mut state.lanes[index];
        match encoded {
            Ok(Encoded::More(writers)) => {
                lane.writers = Some(writers);
                if !lane.waiting.is_empty() {
                    state.ready.push_back(index);
                }
            }
            Ok(Encoded::All(chunks)) => lane.chunks = chunks,
            Err(error) => state.failed = Some(error),
        }
        self.changed.notify_all();
        state
    }
}

/// `None` in place of an array marks the end of the row group.
fn encode_all(field: &FieldRef, mut writers: Writers, pieces: Vec<Piece>) -> Result<Encoded> {
    for piece in pieces {
        match encode(field, writers, piece)? {
            Encoded::More(more) => writers = more,
            all @ Encoded::All(_) => return Ok(all),
        }
    }
    Ok(Encoded::More(writers))
}

fn encode(field: &FieldRef, writers: Writers, piece: Piece) -> Result<Encoded> {
    match (writers, piece) {
        (Writers::Numbers(mut column), Piece::Rows(array)) => {
            column.write(&array)?;
            Ok(Encoded::More(Writers::Numbers(column)))
        }
        (Writers::Numbers(column), Piece::End) => Ok(Encoded::All(Chunks::Numbers(column.close()?))),
        (Writers::Others(mut writers), Piece::Rows(array)) => {
            for (writer, leaf) in writers.iter_mut().zip(compute_leaves(field, &array)?) {
                writer.write(&leaf)?;
            }
            Ok(Encoded::More(Writers::Others(writers)))
        }
        (Writers::Others(writers), Piece::End) => {
            let chunks = writers.into_iter().map(ArrowColumnWriter::close);
            Ok(Encoded::All(Chunks::Others(chunks.collect::<Result<_>>()?)))
        }
    }
}

/// Number of leaf columns of a field.
fn leaves(field: &FieldRef) -> usize {
    use arrow::datatypes::DataType;
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(leaves).sum(),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _)
        | DataType::Map(element, _) => leaves(element),
        _ => 1,
    }
}
