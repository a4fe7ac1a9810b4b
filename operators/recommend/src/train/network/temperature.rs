//! Softmax temperature, constant or trained.

use towline_kernels::{Isa, Step, update};

/// Minimum of a trained temperature: without one training is unstable (Radford et al. 2021, "Learning transferable visual
/// models from natural language supervision", section 2.5).
pub const MIN_TEMPERATURE: f64 = 0.01;

/// Softmax temperature of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TemperatureConfig {
    /// Initial value.
    pub first: f64,
    /// Whether it is a trained parameter.
    pub learnt: bool,
}

/// The temperature in training. The trained parameter is the logarithm of its inverse, by which scores are multiplied.
#[derive(Debug, Clone)]
pub(crate) struct Temperature {
    first: f64,
    /// The logarithm, then the moments of the optimizer; empty if the temperature is constant.
    state: Vec<f32>,
    gradient: f32,
    step: Step,
}

impl Temperature {
    /// The initial temperature; it has the optimizer of the weights without weight decay.
    pub(crate) fn new(warmth: TemperatureConfig, step: Step) -> Self {
        let step = step.without_decay();
        let mut state = Vec::new();
        if warmth.learnt {
            state.push(-warmth.first.ln() as f32);
            state.resize(step.parts(), 0.0);
        }
        Temperature {
            first: warmth.first,
            state,
            gradient: 0.0,
            step,
        }
    }

    /// The present temperature.
    pub(crate) fn value(&self) -> f64 {
        self.state.first().map_or(self.first, |log| (-f64::from(*log)).exp())
    }

    /// Takes the gradient of a loss that knows scores only as multiples of the inverse, from the query embeddings and the
    /// gradient by them: d loss / d ln s = Σ q · d loss / d q.
    pub(crate) fn gather(&mut self, queries: &[f32], by_query: &[f32]) {
        if !self.state.is_empty() {
            let products = queries.iter().zip(by_query);
            self.gradient = products.map(|(q, d)| f64::from(*q) * f64::from(*d)).sum::<f64>() as f32;
        }
    }

    /// The square of the gradient.
    pub(crate) fn square(&self) -> f64 {
        f64::from(self.gradient).powi(2)
    }

    /// Moves it by the gradient times `scale`, at this step, counted from 1.
    pub(crate) fn apply(&mut self, isa: Isa, scale: f32, step: u32) {
        if self.state.is_empty() {
            return;
        }
        let numbers = self.step.numbers(step);
        update(isa, &mut self.state, &[self.gradient], scale, &self.step, &numbers);
        self.state[0] = self.state[0].min(-MIN_TEMPERATURE.ln() as f32);
    }

    /// The trained parameter with its moments.
    pub(crate) fn state(&self) -> &[f32] {
        &self.state
    }

    /// The same, to be changed.
    pub(crate) fn state_mut(&mut self) -> &mut [f32] {
        &mut self.state
    }
}
