//! Who makes the steps of training: the kernels on the processor, or libtorch on a CUDA device.

use std::borrow::Cow;

use towline_kernels::{Mask, Step};

use crate::data::feature_table::FeatureTable;
use crate::towers::towers::Towers;
use crate::train::config::training_options::{Precision, TrainingDevice};
use crate::train::losses::in_batch::InBatch;
use crate::train::losses::pairwise;
use crate::train::network::compute_backend::Computing;
use crate::train::network::dropout::Dropout;
use crate::train::network::network::Network;
use crate::train::network::temperature::{Temperature, Warmth};
#[cfg(feature = "torch")]
use crate::train::torch::torch_network::{TorchNetwork, cuda};
#[cfg(not(feature = "torch"))]
use towline_api::OperatorError;
use towline_api::Result;

/// Rows of tables that a step is about: users, and items that they are compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compared<'a> {
    /// The users of the batch.
    pub(crate) queries: (&'a FeatureTable, &'a [usize]),
    /// The candidates.
    pub(crate) items: (&'a FeatureTable, &'a [usize]),
}

/// How towers learn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// The optimizer.
    pub(crate) step: Step,
    /// The length that the gradient of a step is shortened to.
    pub(crate) clip_norm: Option<f64>,
    /// What is left out of each step.
    pub(crate) dropout: Option<Dropout>,
    /// What scores are divided by.
    pub(crate) temperature: Warmth,
}

/// What the softmax of a batch is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// Log of the probability that a candidate is drawn, less the log of how often it was, [candidates]; zeros for no
    /// correction.
    pub(crate) log_q: &'a [f32],
    /// Which candidate each row of the batch is about, with the log of the probability that it is drawn for this row,
    /// [batch].
    pub(crate) targets: &'a [(u32, f32)],
    /// Which candidates are no negatives.
    pub(crate) mask: &'a Mask,
    /// What the loss of each row counts for, [batch]; their sum should be 1.
    pub(crate) weights: &'a [f32],
}

/// What the rows of a batch are compared with one by one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs<'a> {
    /// For each row its own candidate and the other, [batch]; a row without another teaches nothing.
    pub(crate) places: &'a [(u32, Option<u32>)],
    /// What the loss of each row counts for, [batch].
    pub(crate) weights: &'a [f32],
}

/// The towers while they learn.
#[derive(Debug)]
pub(crate) enum Learner {
    /// On the processor.
    Kernels(Box<Kernels>),
    /// On a CUDA device.
    #[cfg(feature = "torch")]
    Torch(Box<TorchNetwork>),
}

#[cfg(feature = "torch")]
fn on_cuda(towers: &Towers, manner: &Manner, precision: Precision, device: tch::Device) -> Result<Learner> {
    let network = TorchNetwork::new(towers, manner, precision, device)?;
    Ok(Learner::Torch(Box::new(network)))
}

#[cfg(not(feature = "torch"))]
fn cuda() -> Result<std::convert::Infallible> {
    Err(OperatorError::invalid(
        "`device: cuda`: this program was built without libtorch; build it with the feature `torch`",
    ))
}

#[cfg(not(feature = "torch"))]
fn on_cuda(_: &Towers, _: &Manner, _: Precision, device: std::convert::Infallible) -> Result<Learner> {
    match device {}
}

/// Arrays of numbers, and the last steps of rows.
pub(crate) type State<'a> = (Vec<Cow<'a, [f32]>>, Vec<&'a [u32]>);

/// The network on the processor, and the loss at work.
#[derive(Debug)]
pub(crate) struct Kernels {
    network: Network,
    in_batch: InBatch,
    temperature: Temperature,
}

impl Kernels {
    fn parts(&mut self) -> (&mut Network, &mut InBatch, &mut Temperature) {
        (&mut self.network, &mut self.in_batch, &mut self.temperature)
    }
}

impl Learner {
    /// The towers on the device that is asked for; `on` is for the processor.
    pub(crate) fn new(
        towers: &Towers,
        manner: &Manner,
        (device, precision, on): (TrainingDevice, Precision, Computing),
    ) -> Result<Self> {
        match device {
            TrainingDevice::Cpu => Ok(Self::kernels(towers, manner, on)),
            TrainingDevice::Cuda => on_cuda(towers, manner, precision, cuda()?),
            TrainingDevice::Auto => match cuda() {
                Ok(device) => on_cuda(towers, manner, precision, device),
                Err(_) => Ok(Self::kernels(towers, manner, on)),
            },
        }
    }

    /// The towers on the processor.
    pub(crate) fn kernels(towers: &Towers, manner: &Manner, on: Computing) -> Self {
        Learner::Kernels(Box::new(Kernels {
            network: Network::new(towers, manner, on),
            in_batch: InBatch::default(),
            temperature: Temperature::new(manner.temperature, manner.step),
        }))
    }

    /// The weighted sum of the losses of the rows, with its gradients left for [`Learner::learn`].
    pub(crate) fn softmax(&mut self, compared: &Compared<'_>, candidates: &Candidates<'_>) -> Result<f64> {
        match self {
            Learner::Kernels(kernels) => {
                let (network, in_batch, temperature) = kernels.parts();
                network.forward(compared.queries, compared.items)?;
                let embeddings = (network.query.output(), network.item.output());
                let (on, dim) = (network.on(), network.query.dim());
                let loss = in_batch.learn(on, embeddings, dim, temperature.value(), candidates);
                temperature.gather(network.query.output(), &in_batch.by_query);
                Ok(loss)
            }
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.softmax(compared, candidates),
        }
    }

    /// The same for a loss over pairs.
    pub(crate) fn pairwise(&mut self, compared: &Compared<'_>, pairs: &Pairs<'_>) -> Result<f64> {
        match self {
            Learner::Kernels(kernels) => {
                let (network, in_batch, temperature) = kernels.parts();
                network.forward(compared.queries, compared.items)?;
                let embeddings = (network.query.output(), network.item.output());
                let gradients = (&mut in_batch.by_query, &mut in_batch.by_item);
                let dim = network.query.dim();
                let loss = pairwise::learn(embeddings, dim, temperature.value(), pairs, gradients);
                temperature.gather(network.query.output(), &in_batch.by_query);
                Ok(loss)
            }
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.pairwise(compared, pairs),
        }
    }

    /// One step along the gradients of the last loss.
    pub(crate) fn learn(&mut self) -> Result<()> {
        match self {
            Learner::Kernels(kernels) => {
                let (network, in_batch, temperature) = kernels.parts();
                std::mem::swap(&mut network.query.gradient, &mut in_batch.by_query);
                std::mem::swap(&mut network.item.gradient, &mut in_batch.by_item);
                let scale = network.learn(temperature.square());
                temperature.apply(network.on().isa, scale, network.steps() as u32);
                Ok(())
            }
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.learn(),
        }
    }

    /// What scores are divided by now.
    pub(crate) fn temperature(&self) -> Result<f64> {
        match self {
            Learner::Kernels(kernels) => Ok(kernels.temperature.value()),
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.temperature(),
        }
    }

    /// Steps made so far.
    pub(crate) fn steps(&self) -> usize {
        match self {
            Learner::Kernels(kernels) => kernels.network.steps(),
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.steps(),
        }
    }

    /// Copies all weights back.
    pub(crate) fn download(&mut self, towers: &mut Towers) -> Result<()> {
        match self {
            Learner::Kernels(kernels) => {
                kernels.network.download(towers);
                Ok(())
            }
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.download(towers),
        }
    }

    /// Everything that the next step depends on besides the number of steps so far.
    pub(crate) fn state(&self) -> Result<State<'_>> {
        match self {
            Learner::Kernels(kernels) => {
                let (numbers, steps) = kernels.network.state();
                let all = std::iter::once(kernels.temperature.state()).chain(numbers);
                Ok((all.map(Cow::Borrowed).collect(), steps))
            }
            #[cfg(feature = "torch")]
            Learner::Torch(network) => {
                let numbers = network.state()?.into_iter();
                Ok((numbers.map(Cow::Owned).collect(), Vec::new()))
            }
        }
    }

    /// Takes up where [`Learner::state`] was written down; `false`, with nothing changed, if the sizes are not those of
    /// these towers.
    pub(crate) fn restore(&mut self, steps: usize, numbers: &[Vec<f32>], of_rows: &[Vec<u32>]) -> Result<bool> {
        match self {
            Learner::Kernels(kernels) => {
                let (network, _, temperature) = kernels.parts();
                let place = temperature.state_mut();
                let Some((own, numbers)) = numbers.split_first().filter(|(own, _)| own.len() == place.len()) else {
                    return Ok(false);
                };
                if !network.restore(steps, numbers, of_rows) {
                    return Ok(false);
                }
                place.copy_from_slice(own);
                Ok(true)
            }
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.restore(steps, numbers),
        }
    }

    /// The columns whose embeddings are not finite any more, as far as the batch at hand tells.
    pub(crate) fn broken(&self) -> Vec<&str> {
        match self {
            Learner::Kernels(kernels) => kernels.network.broken(),
            #[cfg(feature = "torch")]
            Learner::Torch(network) => network.broken(),
        }
    }
}
