//! The registry: which operators there are, and how to make one from its configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::cache_ignored::is_cache_ignored;
use crate::config::parse_by_schema;
use crate::renamed::{DeprecatedKey, RenamedParameter, rename, rename_for_cache, renamed_parameters};
use crate::{Code, Describe, Inputs, NodeType, Operator, Port, Problem, Purity, Site};

/// What is known of an operator without an instance of it.
#[derive(Clone)]
pub struct Descriptor {
    /// The name in pipelines.
    pub name: &'static str,
    /// Part of every cache key.
    pub code_version: u32,
    /// Whether it is pure.
    pub purity: Purity,
    /// Its inputs.
    pub ports: &'static [Port],
    /// A node as one writes it.
    pub example: &'static str,
    make_schema: fn() -> Value,
    schema: Arc<OnceLock<Value>>,
    renamed: Arc<OnceLock<Vec<RenamedParameter>>>,
    build: fn(&Descriptor, Value) -> Result<Built, Vec<Problem>>,
    assumed_type: fn(&Inputs<NodeType>) -> Option<NodeType>,
}

/// An operator made from its configuration.
#[derive(Clone)]
pub struct Built {
    /// The operator.
    pub operator: Arc<dyn Operator>,
    /// Its configuration by meaning: defaults filled in, keys sorted, what cannot change the output left out. Goes into
    /// the cache key; `${secret.X}` stands unread in it.
    pub cache_config: Value,
}

impl std::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Descriptor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Descriptor {
    /// The descriptor of an operator type.
    pub fn of<T: Describe>() -> Self {
        Descriptor {
            name: T::NAME,
            code_version: T::CODE_VERSION,
            purity: T::PURITY,
            ports: T::PORTS,
            make_schema: || schemars::schema_for!(T).to_value(),
            schema: Arc::default(),
            renamed: Arc::default(),
            example: T::EXAMPLE,
            build: build::<T>,
            assumed_type: T::assumed_type,
        }
    }

    /// The JSON Schema of its configuration, with the documentation of the operator and of each parameter. It is made once.
    pub fn schema(&self) -> &Value {
        self.schema.get_or_init(self.make_schema)
    }

    fn renamed(&self) -> &[RenamedParameter] {
        self.renamed.get_or_init(|| renamed_parameters(self.schema()))
    }

    /// Whether any parameter has a deprecated name.
    pub fn has_deprecated_names(&self) -> bool {
        !self.renamed().is_empty()
    }

    /// Replaces deprecated names of parameters with the present ones; returns the replaced keys, outer ones first.
    pub fn rename_deprecated(&self, config: &mut Value) -> Vec<DeprecatedKey> {
        rename(self.renamed(), config)
    }

    /// The operator with this configuration (a JSON object), or everything that is wrong with it. Deprecated names of
    /// parameters are accepted.
    pub fn build(&self, config: &Value) -> Result<Built, Vec<Problem>> {
        let mut config = config.clone();
        let conflicts: Vec<Problem> = self
            .rename_deprecated(&mut config)
            .into_iter()
            .filter(|key| key.conflict)
            .map(conflict)
            .collect();
        if conflicts.is_empty() {
            (self.build)(self, config)
        } else {
            Err(conflicts)
        }
    }

    /// What the output may be taken to be while something is wrong with the node.
    pub fn assumed_type(&self, inputs: &Inputs<NodeType>) -> Option<NodeType> {
        (self.assumed_type)(inputs)
    }

    /// The operator's documentation: the doc comment of its type.
    pub fn doc(&self) -> String {
        self.schema()
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

fn conflict(key: DeprecatedKey) -> Problem {
    let (old, present) = (&key.deprecated, &key.present);
    let message = format!("`{old}` is the deprecated name of `{present}`, which is given too");
    let problem = Problem::new(Code::Conflict, message).help(format!("remove `{old}`"));
    Problem {
        site: Site::ConfigKey(key.path),
        ..problem
    }
}

fn build<T: Describe>(descriptor: &Descriptor, config: Value) -> Result<Built, Vec<Problem>> {
    let operator: T = parse_by_schema(descriptor.schema(), &config)?;
    let problems = operator.check();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut cache_config = serde_json::to_value(&operator).map_err(|error| {
        vec![Problem::new(
            Code::BadConfig,
            format!("cannot be written as JSON: {error}"),
        )]
    })?;
    if let Value::Object(map) = &mut cache_config {
        let schema = descriptor.schema();
        map.retain(|key, _| !is_cache_ignored(schema, key));
    }
    rename_for_cache(descriptor.renamed(), &mut cache_config);
    Ok(Built {
        operator: Arc::new(operator),
        cache_config,
    })
}

/// The operators that pipelines may use, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    operators: BTreeMap<&'static str, Descriptor>,
}

impl Registry {
    /// Adds an operator; one of the same name is replaced.
    #[must_use]
    pub fn with<T: Describe>(mut self) -> Self {
        self.operators.insert(T::NAME, Descriptor::of::<T>());
        self
    }

    /// The operator of that name.
    pub fn get(&self, name: &str) -> Option<&Descriptor> {
        self.operators.get(name)
    }

    /// All, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Descriptor> {
        self.operators.values()
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.operators.keys().copied().collect()
    }
}
