//! Steps: what the fingerprint of a node's work is made of, with what a node reads beside its inputs.

use towline_api::Artifact;

use crate::plan::{Fingerprint, InputPart, Origin, Step};
use crate::run::failure::Failure;
use crate::run::resolve::Resolver;
use crate::store::digest_json;
use crate::typing::{GraphNode, NodeId};

impl Resolver {
    /// A step of a node on what is connected to it.
    pub(super) fn step<'a>(
        &self,
        id: NodeId,
        role: &str,
        inputs: impl Iterator<Item = &'a Origin>,
    ) -> Result<Step, Failure> {
        let node = &self.graph[id];
        let inputs: Vec<Origin> = inputs.cloned().collect();
        let part = |(connection, input): (&crate::typing::Connection, &Origin)| {
            let named = node.port(connection.port).is_some_and(|port| port.named);
            input.part(connection.port, named.then_some(connection.label.as_str()))
        };
        let parts: Vec<InputPart> = node.connections.iter().zip(&inputs).map(part).collect();
        let mut step = Step::new(
            inputs,
            Fingerprint::of_operator(&node.descriptor, &node.built, role, parts),
        );
        let outside = node.built.operator.outside()?;
        for path in &outside.files {
            let file = self.store.source(path)?;
            step.add("file", &Origin::file(path, &file.digest, file.bytes()));
            self.watch(file);
        }
        for name in outside.variables {
            // The value may be a secret: only its keyed digest is kept.
            let value = std::env::var_os(&name).map(|value| value.to_string_lossy().into_owned());
            let label = format!("the environment variable {name}");
            let digest = self.store.secret_digest(&value.into())?;
            step.add(&name, &Origin::stored(&label, &digest, None, None));
        }
        Ok(step)
    }
}

/// Adds what was measured of the models on ports that ask for it: it is part of the fingerprint there.
pub(super) fn add_metrics(node: &GraphNode, artifacts: &[Artifact], step: &mut Step) {
    for (connection, artifact) in node.connections.iter().zip(artifacts) {
        let measured = node.port(connection.port).is_some_and(|port| port.measured);
        if let Artifact::Model(model) = artifact
            && measured
        {
            let digest = digest_json(&serde_json::json!(crate::store::metrics::json(&model.metrics)));
            step.add("metrics", &Origin::stored("metrics of a model", &digest, None, None));
        }
    }
}
