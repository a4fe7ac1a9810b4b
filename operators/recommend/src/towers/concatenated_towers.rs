//! Several pairs of towers as one, whose scores are the sums of theirs.

use crate::towers::tower_shape::{EmbeddingShape, Normalize, Pool, TowerShape};
use crate::towers::towers::{Dense, Tower, Towers};

impl Towers {
    /// The towers whose embedding of anything is the embeddings of all `members` side by side.
    ///
    /// # Errors
    /// Says what keeps these members apart.
    pub(crate) fn side_by_side(members: &[Self]) -> Result<Self, &'static str> {
        let Some(first) = members.first() else {
            return Err("there are no members");
        };
        if members.iter().any(|member| member.normalize != Normalize::None) {
            return Err("a member scales its embeddings to length 1, and side by side they would not be");
        }
        if !members.iter().all(|member| alike(first, member)) {
            return Err(
                "the towers of the members have different columns, tables, poolings, activations or numbers of layers",
            );
        }
        let attention = [&first.query, &first.item]
            .into_iter()
            .flat_map(|tower| &tower.attention);
        if attention.into_iter().any(|query| !query.is_empty()) {
            return Err("a member pools lists by attention, whose weights would mix with those of the others");
        }
        let tables = (0..first.tables.len()).map(|place| {
            let parts: Vec<&[f32]> = members.iter().map(|member| member.tables[place].as_slice()).collect();
            let rows = rows_of(first, place);
            concatenated(&parts, rows)
        });
        let of = |side: fn(&Towers) -> &Tower| {
            let towers: Vec<&Tower> = members.iter().map(side).collect();
            joined(&towers)
        };
        Ok(Towers {
            normalize: Normalize::None,
            tables: tables.collect(),
            query: of(|towers| &towers.query),
            item: of(|towers| &towers.item),
        })
    }
}

/// Whether two pairs of towers read the same columns in the same way; widths may differ.
fn alike(one: &Towers, other: &Towers) -> bool {
    let columns = |shape: &TowerShape| -> Vec<(String, usize, Pool)> {
        let embeddings = shape.embeddings.iter();
        embeddings.map(|e| (e.column.clone(), e.rows, e.pooling)).collect()
    };
    let numbers = |shape: &TowerShape| -> Vec<(String, usize)> {
        shape.numbers.iter().map(|n| (n.column.clone(), n.width)).collect()
    };
    [(&one.query, &other.query), (&one.item, &other.item)]
        .into_iter()
        .all(|(one, other)| {
            columns(&one.shape) == columns(&other.shape)
                && numbers(&one.shape) == numbers(&other.shape)
                && one.tables == other.tables
                && one.layers.len() == other.layers.len()
                && one.shape.activation == other.shape.activation
        })
}

/// The number of ids of a table.
fn rows_of(towers: &Towers, table: usize) -> usize {
    let towers = [&towers.query, &towers.item].into_iter();
    let mut shapes = towers.flat_map(|tower| tower.tables.iter().zip(&tower.shape.embeddings));
    shapes
        .find(|(place, _)| **place == table)
        .map_or(0, |(_, shape)| shape.rows)
}

/// Matrices of the same number of rows, one beside the other.
fn concatenated(parts: &[&[f32]], rows: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for row in 0..rows {
        for part in parts {
            let width = part.len() / rows;
            all.extend_from_slice(&part[row * width..][..width]);
        }
    }
    all
}

fn joined(towers: &[&Tower]) -> Tower {
    let first = towers[0];
    let total = |width: &dyn Fn(&TowerShape) -> usize| towers.iter().map(|tower| width(&tower.shape)).sum();
    let embeddings = first.shape.embeddings.iter().enumerate();
    let shape = TowerShape {
        embeddings: embeddings
            .map(|(place, shape)| EmbeddingShape {
                dim: total(&|shape| shape.embeddings[place].dim),
                ..shape.clone()
            })
            .collect(),
        numbers: first.shape.numbers.clone(),
        layers: (0..first.layers.len())
            .map(|level| total(&|shape| shape.layers[level]))
            .collect(),
        activation: first.shape.activation,
    };
    let layers = (0..first.layers.len()).map(|level| {
        let inputs = if level == 0 {
            shape.width()
        } else {
            shape.layers[level - 1]
        };
        layer(towers, level, inputs)
    });
    Tower {
        layers: layers.collect(),
        tables: first.tables.clone(),
        attention: first.attention.clone(),
        shape,
    }
}

/// The layers of all towers at a level as one of `inputs`: what comes from one tower goes to that tower alone.
fn layer(towers: &[&Tower], level: usize, inputs: usize) -> Dense {
    let mut all = Dense {
        weight: Vec::new(),
        bias: Vec::new(),
    };
    for (member, tower) in towers.iter().enumerate() {
        let places = places(towers, member, level);
        let dense = &tower.layers[level];
        for weights in dense.weight.chunks_exact(places.len()) {
            let start = all.weight.len();
            all.weight.resize(start + inputs, 0.0);
            for (place, weight) in places.iter().zip(weights) {
                all.weight[start + place] = *weight;
            }
        }
        all.bias.extend_from_slice(&dense.bias);
    }
    all
}

/// Where the inputs of a member's layer are among those of the joined one.
fn places(towers: &[&Tower], member: usize, level: usize) -> Vec<usize> {
    let before = |width: &dyn Fn(&TowerShape) -> usize| -> usize {
        towers[..member].iter().map(|tower| width(&tower.shape)).sum()
    };
    if level > 0 {
        let start = before(&|shape| shape.layers[level - 1]);
        return (start..start + towers[member].shape.layers[level - 1]).collect();
    }
    let mut places = Vec::new();
    let mut start = 0;
    for place in 0..towers[member].shape.embeddings.len() {
        let own = start + before(&|shape| shape.embeddings[place].dim);
        places.extend(own..own + towers[member].shape.embeddings[place].dim);
        start += towers
            .iter()
            .map(|tower| tower.shape.embeddings[place].dim)
            .sum::<usize>();
    }
    let numbers: usize = towers[member].shape.numbers.iter().map(|numbers| numbers.width).sum();
    places.extend(start..start + numbers);
    places
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::data::dense_features::DenseFeatures;
    use crate::data::feature_column::{FeatureColumn, IdFeatures};
    use crate::data::feature_table::FeatureTable;
    use crate::towers::Side;
    use crate::towers::activation::Activation;
    use crate::towers::scoring::dot;
    use crate::towers::tower_shape::NumbersShape;

    const ROWS: usize = 12;

    fn table(rng: &mut ChaCha8Rng) -> FeatureTable {
        let mut ids =
            || FeatureColumn::IdFeatures(IdFeatures::Single((0..ROWS).map(|_| rng.random_range(1..7)).collect()));
        let (user, group, item) = (ids(), ids(), ids());
        let list = FeatureColumn::IdFeatures(IdFeatures::Lists {
            offsets: (0..=ROWS).map(|row| 2 * row).collect(),
            values: (0..2 * ROWS).map(|_| rng.random_range(0..7)).collect(),
        });
        let age = FeatureColumn::Dense(DenseFeatures::of(
            1,
            (0..ROWS).map(|_| rng.random_range(-1.0..1.0)).collect(),
        ));
        let columns = [
            ("user", user),
            ("group", group),
            ("item", item),
            ("last", list),
            ("age", age),
        ];
        FeatureTable::of(columns.map(|(name, cells)| (name.to_owned(), cells)).to_vec(), ROWS)
    }

    fn towers(rng: &mut ChaCha8Rng, dim: usize, layers: &[usize], normalize: Normalize, pooling: Pool) -> Towers {
        let embedding = |column: &str, dim: usize, pooling: Pool, table: Option<&str>| EmbeddingShape {
            column: column.to_owned(),
            rows: 7,
            dim,
            pooling,
            table: table.map(str::to_owned),
        };
        let adds = layers.is_empty();
        let item = TowerShape {
            embeddings: vec![embedding("item", dim, Pool::Mean, None)],
            numbers: Vec::new(),
            layers: layers.to_vec(),
            activation: Activation::default(),
        };
        let query = TowerShape {
            embeddings: vec![
                embedding("user", dim, Pool::Mean, None),
                embedding("group", if adds { dim } else { 3 }, Pool::Mean, None),
                embedding("last", dim, pooling, Some("item.embedding.item")),
            ],
            numbers: if adds {
                Vec::new()
            } else {
                vec![NumbersShape {
                    column: "age".to_owned(),
                    width: 1,
                }]
            },
            layers: layers.to_vec(),
            activation: Activation::default(),
        };
        let mut towers = Towers::init(normalize, query, item, rng).unwrap();
        for x in towers.arrays_mut().into_iter().flatten() {
            *x += rng.random_range(-0.3..0.3);
        }
        towers
    }

    #[test]
    fn scores_are_the_sums_of_the_members() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let table = table(&mut rng);
        for layers in [&[][..], &[6][..], &[9, 5][..]] {
            let members: Vec<Towers> = [4, 6, 4]
                .into_iter()
                .map(|dim| towers(&mut rng, dim, layers, Normalize::None, Pool::Max))
                .collect();
            let joined = Towers::side_by_side(&members).unwrap();
            assert!(joined.query.shape.is_sound() && joined.item.shape.is_sound());
            assert_eq!(joined.dim(), members.iter().map(Towers::dim).sum::<usize>());
            let scores = |towers: &Towers| -> Vec<f32> {
                let queries = towers.embed(Side::Query, &table, 1).unwrap();
                let items = towers.embed(Side::Item, &table, 1).unwrap();
                let dim = towers.dim();
                let pairs = queries
                    .chunks(dim)
                    .flat_map(|q| items.chunks(dim).map(move |v| dot(q, v)));
                pairs.collect()
            };
            let all: Vec<Vec<f32>> = members.iter().map(scores).collect();
            for (place, score) in scores(&joined).into_iter().enumerate() {
                let sum: f32 = all.iter().map(|scores| scores[place]).sum();
                assert!((score - sum).abs() < 1e-4, "{layers:?}: {score} {sum}");
            }
        }
    }

    #[test]
    fn members_that_cannot_stand_side_by_side_are_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let plain = towers(&mut rng, 4, &[6], Normalize::None, Pool::Mean);
        let why = |other: Towers| Towers::side_by_side(&[other.clone(), other]).unwrap_err();
        assert!(why(towers(&mut rng, 4, &[6], Normalize::L2, Pool::Mean)).contains("length 1"));
        assert!(why(towers(&mut rng, 4, &[6], Normalize::None, Pool::Attention)).contains("attention"));
        let deeper = towers(&mut rng, 4, &[6, 6], Normalize::None, Pool::Mean);
        assert!(Towers::side_by_side(&[plain, deeper]).unwrap_err().contains("layers"));
        assert!(Towers::side_by_side(&[]).is_err());
    }
}
