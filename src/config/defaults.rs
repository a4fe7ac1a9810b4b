//! `defaults:`: default parameters by operator.

use std::collections::BTreeMap;

use crate::config::interpolation::interpolate::Interpolator;
use crate::config::key_errors::wrong_type;
use crate::config::yaml::{Key, Mapping, Value, ValueKind};

/// By operator: the place of its name, and the parameters.
pub(crate) type Defaults = BTreeMap<String, (Key, Mapping)>;

/// The defaults of the file, interpolated.
pub(crate) fn read(interpolator: &mut Interpolator<'_>, value: Option<&Value>) -> Defaults {
    let mut defaults = Defaults::new();
    let Some(value) = value else { return defaults };
    let entries = match &value.kind {
        ValueKind::Mapping(mapping) => &mapping.entries,
        ValueKind::Null => return defaults,
        _ => {
            let diagnostic = wrong_type("`defaults` must be a mapping from operators to parameters", value);
            interpolator.diagnostics.push(diagnostic);
            return defaults;
        }
    };
    for (op, parameters) in entries {
        let Some(parameters) = interpolator.value(parameters) else {
            continue;
        };
        match parameters.kind {
            ValueKind::Mapping(mapping) => {
                defaults.insert(op.value.clone(), (op.clone(), mapping));
            }
            ValueKind::Null => {}
            _ => {
                let message = format!("the defaults of `{}` must be a mapping", op.value);
                interpolator.diagnostics.push(wrong_type(&message, &parameters));
            }
        }
    }
    defaults
}

/// The configuration of a node with what its operator's defaults add.
pub(crate) fn apply(defaults: &Defaults, op: &str, config: &mut Value) {
    let (Some((_, added)), ValueKind::Mapping(own)) = (defaults.get(op), &mut config.kind) else {
        return;
    };
    for (key, value) in &added.entries {
        if own.get(&key.value).is_none() {
            own.entries.push((key.clone(), value.clone()));
        }
    }
}
