//! Training on the processor, with the kernels of `towline-kernels`.

use std::borrow::Cow;

use crate::towers::towers::Towers;
use crate::train::config::training_options::Precision;
use crate::train::losses::in_batch::InBatch;
use crate::train::losses::pairwise;
use crate::train::network::compute_backend::ComputeBackend;
use crate::train::network::network::Network;
use crate::train::network::temperature::Temperature;
use crate::train::train_backend::{BackendState, BatchRows, Candidates, Pairs, TrainBackend, TrainingConfig};
use towline_api::Result;

#[derive(Debug)]
struct KernelBackend {
    network: Network,
    in_batch: InBatch,
    temperature: Temperature,
}

/// The backend of the processor.
///
/// # Errors
/// None: the signature is that of every backend.
pub fn kernel_backend(
    towers: &Towers,
    config: &TrainingConfig,
    precision: Precision,
    threads: usize,
) -> Result<Box<dyn TrainBackend>> {
    Ok(Box::new(KernelBackend {
        network: Network::new(towers, config, ComputeBackend::new(precision, threads)),
        in_batch: InBatch::default(),
        temperature: Temperature::new(config.temperature, config.step),
    }))
}

impl TrainBackend for KernelBackend {
    fn softmax_loss(&mut self, batch: &BatchRows<'_>, candidates: &Candidates<'_>) -> Result<f64> {
        let network = &mut self.network;
        network.forward(batch.queries, batch.items)?;
        let embeddings = (network.query.output(), network.item.output());
        let (on, dim) = (network.on(), network.query.dim());
        let temperature = self.temperature.value();
        let loss = self.in_batch.learn(on, embeddings, dim, temperature, candidates);
        self.temperature.gather(network.query.output(), &self.in_batch.by_query);
        Ok(loss)
    }

    fn pairwise_loss(&mut self, batch: &BatchRows<'_>, pairs: &Pairs<'_>) -> Result<f64> {
        let (network, in_batch) = (&mut self.network, &mut self.in_batch);
        network.forward(batch.queries, batch.items)?;
        let embeddings = (network.query.output(), network.item.output());
        let gradients = (&mut in_batch.by_query, &mut in_batch.by_item);
        let dim = network.query.dim();
        let loss = pairwise::learn(embeddings, dim, self.temperature.value(), pairs, gradients);
        self.temperature.gather(network.query.output(), &in_batch.by_query);
        Ok(loss)
    }

    fn apply_gradients(&mut self) -> Result<()> {
        let (network, in_batch) = (&mut self.network, &mut self.in_batch);
        std::mem::swap(&mut network.query.gradient, &mut in_batch.by_query);
        std::mem::swap(&mut network.item.gradient, &mut in_batch.by_item);
        let scale = network.learn(self.temperature.square());
        self.temperature.apply(network.on().isa, scale, network.steps() as u32);
        Ok(())
    }

    fn temperature(&self) -> Result<f64> {
        Ok(self.temperature.value())
    }

    fn steps(&self) -> usize {
        self.network.steps()
    }

    fn download(&mut self, towers: &mut Towers) -> Result<()> {
        self.network.download(towers);
        Ok(())
    }

    fn state(&self) -> Result<BackendState<'_>> {
        let (numbers, last_steps) = self.network.state();
        let all = std::iter::once(self.temperature.state()).chain(numbers);
        Ok(BackendState {
            numbers: all.map(Cow::Borrowed).collect(),
            last_steps,
        })
    }

    fn restore(&mut self, steps: usize, numbers: &[Vec<f32>], last_steps: &[Vec<u32>]) -> Result<bool> {
        let place = self.temperature.state_mut();
        let Some((own, numbers)) = numbers.split_first().filter(|(own, _)| own.len() == place.len()) else {
            return Ok(false);
        };
        if !self.network.restore(steps, numbers, last_steps) {
            return Ok(false);
        }
        place.copy_from_slice(own);
        Ok(true)
    }

    fn non_finite_columns(&self) -> Vec<&str> {
        self.network.broken()
    }
}
