//! Reader function of `publish: pointer`: `FCALL_RO recs_get 1 <key> [<generation>]`.

use crate::redis::client::client_error::ClientError;
use crate::redis::config::settings::ValueType;
use crate::redis::keyspace::namespace::Namespace;
use towline_api::OperatorError;

/// Installs the function on every node. On a single server it reads `RECS:CURRENT`; in a cluster, where only one node has
/// that key, the number of the generation is a constant in it.
pub(crate) async fn install(
    Namespace { server, keys }: Namespace<'_>,
    value_type: ValueType,
    generation: u64,
) -> Result<(), ClientError> {
    let namespace = &keys.0;
    let library = namespace.to_lowercase();
    let number = if server.is_cluster() {
        format!("'{generation}'")
    } else {
        format!("redis.call('GET', '{namespace}:CURRENT')")
    };
    let read = value_type.read_command();
    let code = format!(
        "#!lua name={library}\n\
         local function get(keys, args)\n\
         \x20 local generation = args[1] or {number}\n\
         \x20 if not generation then return false end\n\
         \x20 return redis.call('{read}', '{namespace}:' .. generation .. ':{{' .. keys[1] .. '}}')\n\
         end\n\
         redis.register_function{{function_name='{library}_get', callback=get, flags={{'no-writes'}}}}\n"
    );
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg("REPLACE").arg(code);
    server
        .query_all_nodes::<String>(&command)
        .await
        .map(|_| ())
        .map_err(|error| match error {
            ClientError::Permanent(OperatorError::Server(text)) if text.to_lowercase().contains("unknown command") => {
                OperatorError::Server("`publish: pointer` needs Redis 7 or newer, which has functions".to_owned())
                    .into()
            }
            other => other,
        })
}
