//! Towers as TorchScript.

use serde_json::json;
use towline_api::TaskResult;
use towline_recommend::torch_worker::{ColumnShape, ScriptRequest, WorkerProgram};
use towline_recommend::train::backend::Side;

use crate::dense_reference::query_embeddings;
use crate::fixture::{Fixture, LAST, inputs, operator, small};
use crate::recording::{Computed, recorded};

const ROWS: usize = 200;

#[test]
fn the_script_of_a_tower_takes_every_kind_of_input() {
    let fixture = Fixture::new();
    let (backend, recording) = recorded(Computed::Kernels);
    let operator = operator(&small(), &json!({ "pooling": "attention", "embedding_dim": 16 }));
    let ports = inputs(fixture.data(ROWS, &[]));
    let context = fixture.context();
    let trained = operator.train_on(&ports, &context, &*backend).unwrap();
    let TaskResult::Model { description, files, .. } = trained.result else {
        panic!("not a model")
    };
    let path = fixture.path().join("query.pt");
    let request = ScriptRequest {
        description,
        weights: files["weights.safetensors"].clone(),
        side: Side::Query,
        columns: vec![
            ColumnShape::Single,
            ColumnShape::Single,
            ColumnShape::Lists,
            ColumnShape::Single,
        ],
        path: path.clone(),
    };
    let worker = WorkerProgram::at(std::path::Path::new(env!("CARGO_BIN_EXE_towline-torch")));
    worker.write_script(request, &context).unwrap();

    // Other sizes than those it was traced with.
    let script = tch::CModule::load(&path).unwrap();
    let recording = recording.lock().unwrap();
    let step = &recording.steps[0];
    let found = script
        .forward_ts(&[
            tch::Tensor::from_slice(&step.users),
            tch::Tensor::from_slice(&step.groups),
            tch::Tensor::from_slice(&step.last).view([-1, LAST as i64]),
            tch::Tensor::from_slice(&step.age),
        ])
        .unwrap();
    let found = Vec::<f32>::try_from(found.view([-1])).unwrap();
    let towers = recording.trained.as_ref().unwrap();
    let expected = Vec::<f32>::try_from(query_embeddings(towers, step).view([-1])).unwrap();
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}
