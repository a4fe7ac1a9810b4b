//! Checkpoints: the state of training after an epoch, from which it goes on to the same bytes.
//!
//! ```text
//! the line MAGIC
//! length of the header, u64 little-endian; the header in JSON
//! the arrays whose lengths the header names: f32 and u32, little-endian
//! BLAKE3 of all that
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::towers::towers::Towers;
use crate::train::train_backend::{BackendState, TrainBackend};
use towline_api::{OperatorError, Result};

const MAGIC: &[u8] = b"towline two-tower training 4\n";
const DIGEST: u64 = blake3::OUT_LEN as u64;

/// The best epoch so far.
#[derive(Debug, Clone)]
pub(crate) struct Best {
    /// Value of the metric of early stopping.
    pub(crate) value: f64,
    /// The epoch, counted from 1.
    pub(crate) epoch: usize,
    /// The weights after it.
    pub(crate) towers: Towers,
    /// All metrics after it.
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// The progress of a training, besides the weights.
#[derive(Debug, Clone)]
pub(crate) struct TrainingProgress {
    /// Epochs done.
    pub(crate) epoch: usize,
    /// Random number generator.
    pub(crate) rng: ChaCha8Rng,
    /// The latest metrics.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Rows of the report, one per epoch.
    pub(crate) rows: Vec<Vec<String>>,
    /// The best epoch, with early stopping.
    pub(crate) best: Option<Best>,
    /// Weights at the ends of the last epochs, the latest first, for weight averaging.
    pub(crate) ends: VecDeque<Towers>,
}

/// Floating-point numbers are written as their bits: text would have to be read back to the last one.
type Bits = BTreeMap<String, u64>;

#[derive(Serialize, Deserialize)]
struct Header {
    epoch: usize,
    steps: usize,
    /// A 128-bit number in decimal.
    position: String,
    metrics: Bits,
    rows: Vec<Vec<String>>,
    best: Option<BestHeader>,
    ends: usize,
    floats: Vec<usize>,
    steps_of_rows: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct BestHeader {
    value: u64,
    epoch: usize,
    metrics: Bits,
}

fn bits(metrics: &BTreeMap<String, f64>) -> Bits {
    metrics.iter().map(|(name, x)| (name.clone(), x.to_bits())).collect()
}

fn numbers(bits: &Bits) -> BTreeMap<String, f64> {
    bits.iter()
        .map(|(name, x)| (name.clone(), f64::from_bits(*x)))
        .collect()
}

impl TrainingProgress {
    /// Writes a checkpoint to `path`, whole or not at all.
    pub(crate) fn write(&self, backend: &dyn TrainBackend, path: &Path) -> Result<()> {
        let state = backend.state()?;
        self.written(state, backend.steps(), path)
            .map_err(OperatorError::io(path))
    }

    fn written(&self, state: BackendState<'_>, steps: usize, path: &Path) -> io::Result<()> {
        let (mut floats, steps_of_rows) = (state.numbers, state.last_steps);
        let towers = self.best.iter().map(|best| &best.towers).chain(&self.ends);
        floats.extend(
            towers
                .flat_map(Towers::arrays)
                .map(|array| Cow::Borrowed(array.as_slice())),
        );
        let header = Header {
            epoch: self.epoch,
            steps,
            position: self.rng.get_word_pos().to_string(),
            metrics: bits(&self.metrics),
            rows: self.rows.clone(),
            best: self.best.as_ref().map(|best| BestHeader {
                value: best.value.to_bits(),
                epoch: best.epoch,
                metrics: bits(&best.metrics),
            }),
            ends: self.ends.len(),
            floats: floats.iter().map(|array| array.len()).collect(),
            steps_of_rows: steps_of_rows.iter().map(|array| array.len()).collect(),
        };
        let header = serde_json::to_vec(&header)?;
        let new = path.with_extension("new");
        let mut out = Hashed {
            inner: BufWriter::new(File::create(&new)?),
            hasher: blake3::Hasher::new(),
        };
        out.put(MAGIC)?;
        out.put(&(header.len() as u64).to_le_bytes())?;
        out.put(&header)?;
        for x in floats.iter().flat_map(|array| array.iter()) {
            out.put(&x.to_le_bytes())?;
        }
        for x in steps_of_rows.into_iter().flatten() {
            out.put(&x.to_le_bytes())?;
        }
        let digest = out.hasher.finalize();
        out.inner.write_all(digest.as_bytes())?;
        out.inner
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        std::fs::rename(&new, path)
    }

    /// Restores the checkpoint at `path`; `false`, with nothing changed, if there is no whole one.
    pub(crate) fn take_up(&mut self, backend: &mut dyn TrainBackend, towers: &Towers, path: &Path) -> Result<bool> {
        let Some((header, mut floats, steps_of_rows)) = read(path) else {
            return Ok(false);
        };
        let Ok(position) = header.position.parse() else {
            return Ok(false);
        };
        let arrays = backend.state()?.numbers.len();
        let kept = floats.split_off(arrays.min(floats.len()));
        let count = usize::from(header.best.is_some()) + header.ends;
        let Some(mut kept) = restored(towers, count, kept) else {
            return Ok(false);
        };
        let best = header.best.and_then(|found| {
            Some(Best {
                value: f64::from_bits(found.value),
                epoch: found.epoch,
                towers: kept.pop_front()?,
                metrics: numbers(&found.metrics),
            })
        });
        if !backend.restore(header.steps, &floats, &steps_of_rows)? {
            return Ok(false);
        }
        self.rng.set_word_pos(position);
        self.epoch = header.epoch;
        self.metrics = numbers(&header.metrics);
        self.rows = header.rows;
        self.best = best;
        self.ends = kept;
        Ok(true)
    }
}

/// `count` towers of the shape of `towers` with these weights; `None` if the sizes differ.
fn restored(towers: &Towers, count: usize, weights: Vec<Vec<f32>>) -> Option<VecDeque<Towers>> {
    let mut all: VecDeque<Towers> = (0..count).map(|_| towers.clone()).collect();
    let places: Vec<&mut Vec<f32>> = all.iter_mut().flat_map(Towers::arrays_mut).collect();
    let fits = places.len() == weights.len() && places.iter().zip(&weights).all(|(place, x)| place.len() == x.len());
    for (place, x) in places.into_iter().zip(weights) {
        *place = x;
    }
    fits.then_some(all)
}

/// The content of a checkpoint file, if it is whole.
fn read(path: &Path) -> Option<(Header, Vec<Vec<f32>>, Vec<Vec<u32>>)> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len().checked_sub(DIGEST)?;
    let mut hasher = blake3::Hasher::new();
    let mut whole = BufReader::new(file);
    io::copy(&mut (&mut whole).take(length), &mut hasher).ok()?;
    let mut digest = [0; blake3::OUT_LEN];
    whole.read_exact(&mut digest).ok()?;
    if *hasher.finalize().as_bytes() != digest {
        return None;
    }
    let mut file = BufReader::new(File::open(path).ok()?);
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).ok()?;
    let length = u64::from_le_bytes(some(&mut file)?);
    let mut header = Vec::new();
    (&mut file).take(length).read_to_end(&mut header).ok()?;
    let header: Header = serde_json::from_slice(&header).ok().filter(|_| magic == MAGIC)?;
    let floats = header.floats.iter().map(|n| many(&mut file, *n, f32::from_le_bytes));
    let floats = floats.collect::<Option<_>>()?;
    let steps = header
        .steps_of_rows
        .iter()
        .map(|n| many(&mut file, *n, u32::from_le_bytes));
    let steps = steps.collect::<Option<_>>()?;
    Some((header, floats, steps))
}

fn many<const N: usize, T>(file: &mut impl Read, count: usize, value: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    (0..count).map(|_| some(file).map(&value)).collect()
}

fn some<const N: usize>(file: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// A writer that hashes what passes through.
struct Hashed<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }
}
