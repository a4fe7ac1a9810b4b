//! A backend that writes down what training asks of another one.

use std::sync::{Arc, Mutex};

use towline_api::Result;
use towline_recommend::train::backend::{
    BackendState, BatchRows, Candidates, NewBackend, Pairs, Precision, TowerRows, Towers, TrainBackend, TrainingConfig,
    kernel_backend,
};
use towline_torch::TorchNetwork;

/// The inputs of a step, and its loss.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) users: Vec<i64>,
    pub(crate) groups: Vec<i64>,
    /// Lists, padded to the longest; empty where there is no such column.
    pub(crate) last: Vec<i64>,
    pub(crate) age: Vec<f32>,
    /// The positive of each row.
    pub(crate) items: Vec<i64>,
    pub(crate) brands: Vec<i64>,
}

/// What a training went through.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) initial: Option<Towers>,
    pub(crate) trained: Option<Towers>,
    pub(crate) steps: Vec<Step>,
    pub(crate) losses: Vec<f64>,
    pub(crate) temperature: f64,
}

type Shared = Arc<Mutex<Recording>>;

#[derive(Debug)]
struct Recorder {
    inner: Box<dyn TrainBackend>,
    recording: Shared,
}

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Computed {
    Kernels,
    Libtorch,
}

/// The backends of `by` on the processor, with what they go through.
pub(crate) fn recorded(by: Computed) -> (Box<NewBackend<'static>>, Shared) {
    let recording = Shared::default();
    let shared = Arc::clone(&recording);
    let new = move |towers: &Towers, config: &TrainingConfig, precision: Precision, threads: usize| {
        let inner: Box<dyn TrainBackend> = match by {
            Computed::Kernels => kernel_backend(towers, config, precision, threads)?,
            Computed::Libtorch => Box::new(TorchNetwork::new(towers, config, precision, tch::Device::Cpu)?),
        };
        let recording = Arc::clone(&shared);
        recording.lock().unwrap().initial = Some(towers.clone());
        Ok(Box::new(Recorder { inner, recording }) as Box<dyn TrainBackend>)
    };
    (Box::new(new), recording)
}

fn picked(rows: TowerRows<'_>, column: &str, places: &[(u32, f32)]) -> Vec<i64> {
    let ids = rows.ids(column).unwrap().0;
    places.iter().map(|(place, _)| ids[*place as usize]).collect()
}

impl TrainBackend for Recorder {
    fn softmax_loss(&mut self, batch: &BatchRows<'_>, candidates: &Candidates<'_>) -> Result<f64> {
        let loss = self.inner.softmax_loss(batch, candidates)?;
        let ids = |column: &str| batch.queries.ids(column).map(|(ids, _)| ids).unwrap_or_default();
        let step = Step {
            users: ids("user"),
            groups: ids("group"),
            last: ids("last"),
            age: batch.queries.numbers("age", 1).unwrap_or_default(),
            items: picked(batch.items, "item", candidates.targets),
            brands: picked(batch.items, "brand", candidates.targets),
        };
        let mut recording = self.recording.lock().unwrap();
        recording.steps.push(step);
        recording.losses.push(loss);
        Ok(loss)
    }

    fn pairwise_loss(&mut self, batch: &BatchRows<'_>, pairs: &Pairs<'_>) -> Result<f64> {
        let loss = self.inner.pairwise_loss(batch, pairs)?;
        self.recording.lock().unwrap().losses.push(loss);
        Ok(loss)
    }

    fn apply_gradients(&mut self) -> Result<()> {
        self.inner.apply_gradients()?;
        self.recording.lock().unwrap().temperature = self.inner.temperature()?;
        Ok(())
    }

    fn temperature(&self) -> Result<f64> {
        self.inner.temperature()
    }

    fn steps(&self) -> usize {
        self.inner.steps()
    }

    fn download(&mut self, towers: &mut Towers) -> Result<()> {
        self.inner.download(towers)?;
        self.recording.lock().unwrap().trained = Some(towers.clone());
        Ok(())
    }

    fn state(&self) -> Result<BackendState<'_>> {
        self.inner.state()
    }

    fn restore(&mut self, steps: usize, numbers: &[Vec<f32>], last_steps: &[Vec<u32>]) -> Result<bool> {
        self.inner.restore(steps, numbers, last_steps)
    }

    fn non_finite_columns(&self) -> Vec<&str> {
        self.inner.non_finite_columns()
    }
}
