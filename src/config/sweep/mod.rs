//! `sweep:`: hyperparameter search. Each trial is a node of its own, and one more node selects the best model.

mod search_space;

use crate::config::defaults;
use crate::config::key_errors::unknown_key;
use crate::config::model::InvalidParts;
use crate::config::nodes::parser::{EntryContext, NodeParser};
use crate::config::nodes::unresolved::{Target, UnresolvedInputs, UnresolvedNode, UnresolvedReference};
use crate::config::settings::Settings;
use crate::config::yaml::{Code, Diagnostic, Key, Mapping, Span, Spanned, Value, ValueKind};
use search_space::{Assignment, SearchSpace};

/// The keys of a sweep, each with its documentation and its JSON type.
pub(crate) const KEYS: [(&str, &str, &str); 6] = [
    (
        "parameters",
        "The search space: each parameter with a list of values, or with a range `{ min: 0.0001, max: 0.1, scale: log }`. A \
         dot leads into a parameter that is a mapping.",
        "object",
    ),
    (
        "metric",
        "The metric that trials are compared by: one of `evaluate` or, without it, of the node itself.",
        "string",
    ),
    (
        "direction",
        "Whether the metric is to be maximised (`max`, the default) or minimised (`min`).",
        "string",
    ),
    (
        "evaluate",
        "The node that evaluates a trial: `{ op: Evaluate, inputs: { model: NAME, data: features.valid } }`, where NAME is \
         the name of the node itself and stands for the trial.",
        "object",
    ),
    (
        "trials",
        "The number of random combinations to try; without it, a grid search tries every combination of the lists.",
        "integer",
    ),
    ("seed", "The seed of the random combinations.", "integer"),
];

/// The deprecated names of keys, each with the present one.
pub(crate) const DEPRECATED_KEYS: [(&str, &str); 3] =
    [("over", "parameters"), ("goal", "direction"), ("judge", "evaluate")];

/// The node that evaluates a trial, as far as it is the same for all trials.
struct Evaluation {
    op: Spanned<String>,
    config: Value,
    inputs: UnresolvedInputs,
    invalid: InvalidParts,
}

impl NodeParser<'_> {
    /// Replaces a node with its trials, their evaluations and, under its own name, the node that selects the best model;
    /// keeps the node itself if the sweep is invalid.
    pub(crate) fn expand_sweep(
        &mut self,
        mut node: UnresolvedNode,
        sweep: &Value,
        entry_context: &mut EntryContext<'_>,
    ) {
        let errors = |parser: &Self| {
            let diagnostics = parser.interpolator.diagnostics.iter();
            diagnostics.filter(|diagnostic| diagnostic.is_error()).count()
        };
        let before = errors(self);
        let read = self.read_sweep(sweep, &node, entry_context);
        let (Some((trials, choice, evaluate)), true) = (read, errors(self) == before) else {
            node.invalid.config = true;
            self.unresolved.push(node);
            return;
        };
        let place = node.op.span;
        let expect = std::mem::take(&mut node.settings.expect);
        let (mut models, mut evaluations) = (Vec::new(), Vec::new());
        for trial in &trials {
            let mut own = node.config.clone();
            defaults::apply(&self.defaults, &node.op.value, &mut own);
            for (path, value) in trial {
                search_space::set(&mut own, path, value.clone());
            }
            let model = self.trial(&node, own, entry_context);
            models.push(reference_to(model, place));
            if let Some(evaluate) = &evaluate {
                let evaluation = self.evaluation(evaluate, &node, model, entry_context);
                evaluations.push(reference_to(evaluation, place));
            }
        }
        let named = |port: &str, references: Vec<UnresolvedReference>| {
            let key = Key::new(port.to_owned(), place);
            references.into_iter().map(move |reference| (key.clone(), reference))
        };
        let inputs = named("models", models)
            .chain(named("evaluations", evaluations))
            .collect();
        self.unresolved.push(UnresolvedNode {
            op: Spanned::new(self.operators.best.to_owned(), place),
            config: best_config(choice, &trials, sweep.span),
            inputs: UnresolvedInputs::Named(inputs),
            after: Vec::new(),
            settings: Settings {
                expect,
                ..Settings::default()
            },
            invalid: InvalidParts::default(),
            ..node
        });
    }

    /// The trials, the parameters of the node that selects the best, and the evaluation.
    #[expect(clippy::type_complexity, reason = "read once, and taken apart at once")]
    fn read_sweep(
        &mut self,
        sweep: &Value,
        node: &UnresolvedNode,
        entry_context: &mut EntryContext<'_>,
    ) -> Option<(Vec<Assignment>, Vec<(Key, Value)>, Option<Evaluation>)> {
        let ValueKind::Mapping(written) = &sweep.kind else {
            self.wrong_type("`sweep` must be a mapping", sweep);
            return None;
        };
        let mapping = &self.with_present_names(written, &DEPRECATED_KEYS);
        let known: Vec<&str> = KEYS.iter().map(|(key, ..)| *key).collect();
        for (key, _) in mapping
            .entries
            .iter()
            .filter(|(key, _)| !known.contains(&key.value.as_str()))
        {
            self.report(unknown_key(key, "a sweep", &known));
        }
        let mut choice = Vec::new();
        for key in ["metric", "direction"] {
            if let Some((key, value)) = mapping.entry(key) {
                choice.push((key.clone(), self.interpolate(value, entry_context)?));
            }
        }
        for key in ["parameters", "metric"]
            .into_iter()
            .filter(|key| mapping.get(key).is_none())
        {
            let missing = Diagnostic::error(Code::MissingKey, format!("the sweep has no `{key}`")).at(sweep.span);
            let help = KEYS.iter().find(|(name, ..)| *name == key).map(|(_, doc, _)| *doc);
            self.report(missing.help(format!("add `{key}:`. {}", help.unwrap_or_default())));
        }
        let parameters = mapping.get("parameters")?;
        let parameters = self.interpolate(parameters, entry_context)?;
        let number = |parser: &mut Self, key: &str| {
            let value = mapping
                .get(key)
                .and_then(|value| parser.interpolate(value, entry_context));
            value.and_then(|value| search_space::integer(parser, key, &value))
        };
        let (trials, seed) = (number(self, "trials"), number(self, "seed"));
        let search_space = SearchSpace::read(self, &parameters, node)?;
        let evaluate = match mapping.get("evaluate") {
            Some(evaluate) => Some(self.read_evaluation(evaluate, entry_context)?),
            None => None,
        };
        let trials = search_space
            .trials(trials, seed.unwrap_or(0))
            .map_err(|diagnostic| self.report(*diagnostic))
            .ok()?;
        Some((trials, choice, evaluate))
    }

    fn read_evaluation(&mut self, value: &Value, entry_context: &mut EntryContext<'_>) -> Option<Evaluation> {
        let ValueKind::Mapping(mapping) = &value.kind else {
            self.wrong_type("`evaluate` must be a node: a mapping with `op` and `inputs`", value);
            return None;
        };
        let known = ["op", "input", "inputs", "with"];
        for (key, _) in mapping
            .entries
            .iter()
            .filter(|(key, _)| !known.contains(&key.value.as_str()))
        {
            self.report(unknown_key(key, "`evaluate`", &known));
        }
        let (op, mut config, inputs, invalid) = self.computation(mapping, entry_context, &[]);
        defaults::apply(&self.defaults, &op.value, &mut config);
        let own = |reference: &UnresolvedReference| is_named(reference, &entry_context.key.value);
        if !invalid.inputs && !inputs.references().into_iter().any(own) {
            let name = &entry_context.key.value;
            let message = format!("this does not use the trials: none of its inputs is `{name}`");
            let help = format!("connect `{name}`, which stands for the trial: `inputs: {{ model: {name}, ... }}`");
            self.report(Diagnostic::error(Code::BadInput, message).at(value.span).help(help));
        }
        Some(Evaluation {
            op,
            config,
            inputs,
            invalid,
        })
    }

    fn trial(&mut self, node: &UnresolvedNode, config: Value, entry_context: &mut EntryContext<'_>) -> usize {
        self.generated(
            UnresolvedNode {
                op: node.op.clone(),
                config,
                inputs: node.inputs.clone(),
                after: node.after.clone(),
                settings: node.settings.clone(),
                invalid: node.invalid,
                ..blank(node)
            },
            entry_context,
        )
    }

    fn evaluation(
        &mut self,
        evaluate: &Evaluation,
        node: &UnresolvedNode,
        model: usize,
        entry_context: &mut EntryContext<'_>,
    ) -> usize {
        let mut inputs = evaluate.inputs.clone();
        for reference in inputs.references_mut() {
            if is_named(reference, &entry_context.key.value) {
                reference.target = Target::Generated(model);
            }
        }
        self.generated(
            UnresolvedNode {
                span: evaluate.op.span,
                op: evaluate.op.clone(),
                config: evaluate.config.clone(),
                inputs,
                invalid: evaluate.invalid,
                ..blank(node)
            },
            entry_context,
        )
    }

    /// Adds a generated node under a name of its own.
    fn generated(&mut self, unresolved: UnresolvedNode, entry_context: &mut EntryContext<'_>) -> usize {
        entry_context.generated_count += 1;
        self.unresolved.push(UnresolvedNode {
            name: format!(
                "{}.{}:{}",
                entry_context.key.value, entry_context.generated_count, unresolved.op.value
            ),
            generated: true,
            ..unresolved
        });
        self.unresolved.len() - 1
    }
}

/// An empty generated node at the span of another.
fn blank(node: &UnresolvedNode) -> UnresolvedNode {
    UnresolvedNode {
        name: String::new(),
        span: node.op.span,
        op: node.op.clone(),
        config: Value::empty_mapping(node.op.span),
        inputs: UnresolvedInputs::None,
        after: Vec::new(),
        settings: Settings::default(),
        invalid: InvalidParts::default(),
        generated: true,
        chain_text: None,
    }
}

fn reference_to(node: usize, span: Span) -> UnresolvedReference {
    UnresolvedReference {
        target: Target::Generated(node),
        columns: None,
        split: None,
        span,
    }
}

fn is_named(reference: &UnresolvedReference, name: &str) -> bool {
    matches!(&reference.target, Target::Named(target) if target.value == name)
}

/// The configuration of the node that selects the best model: the metric, and the parameters of each trial.
fn best_config(choice: Vec<(Key, Value)>, trials: &[Assignment], span: Span) -> Value {
    let trial = |trial: &Assignment| Value {
        kind: ValueKind::Mapping(Mapping { entries: trial.clone() }),
        span,
    };
    let trials = Value {
        kind: ValueKind::Sequence(trials.iter().map(trial).collect()),
        span,
    };
    let mut entries = choice;
    entries.push((Key::new("trials".to_owned(), span), trials));
    Value {
        kind: ValueKind::Mapping(Mapping { entries }),
        span,
    }
}
