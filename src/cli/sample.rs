//! The sample of data that `towline init` writes: purchases in a small shop, in which people have tastes.

use std::fmt::Write as _;

/// The number of buyers.
const USERS: u64 = 400;

const CATALOGUE: [(&str, [&str; 8]); 6] = [
    (
        "coffee",
        [
            "Espresso beans",
            "Filter beans",
            "Hand grinder",
            "Milk jug",
            "Paper filters",
            "Moka pot",
            "Cold brew bottle",
            "Tasting set",
        ],
    ),
    (
        "garden",
        [
            "Tomato seeds",
            "Pruning shears",
            "Watering can",
            "Clay pots",
            "Compost",
            "Herb seeds",
            "Gloves",
            "Trowel",
        ],
    ),
    (
        "cycling",
        [
            "Inner tube",
            "Chain oil",
            "Bar tape",
            "Rear light",
            "Water bottle",
            "Multi-tool",
            "Tyre levers",
            "Saddle bag",
        ],
    ),
    (
        "baking",
        [
            "Bread flour",
            "Proofing basket",
            "Dough scraper",
            "Rye flour",
            "Cake tin",
            "Rolling pin",
            "Vanilla pods",
            "Kitchen scale",
        ],
    ),
    (
        "drawing",
        [
            "Pencil set",
            "Sketchbook",
            "Ink",
            "Brush pens",
            "Eraser",
            "Watercolours",
            "Easel",
            "Charcoal",
        ],
    ),
    (
        "camping",
        [
            "Gas stove",
            "Head torch",
            "Sleeping mat",
            "Tent pegs",
            "Cooking pot",
            "Dry bag",
            "Pocket knife",
            "Thermos",
        ],
    ),
];

/// `products.csv`: `product_id,name,category`.
pub(super) fn products() -> String {
    let mut out = "product_id,name,category\n".to_owned();
    let named = CATALOGUE
        .iter()
        .flat_map(|(category, names)| names.iter().map(move |name| (name, category)));
    for (id, (name, category)) in (101..).zip(named) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{id},{name},{category}");
    }
    out
}

/// `purchases.csv`: `user_id,product_id,timestamp`. Everybody has one kind of product that they buy most, and some
/// products of each kind sell better than others. The same text at each call.
pub(super) fn purchases() -> String {
    let mut random = Random(7);
    let mut out = "user_id,product_id,timestamp\n".to_owned();
    for user in 1..=USERS {
        let taste = random.below(CATALOGUE.len() as u64);
        let mut seconds = 1_767_225_600 + random.below(86_400 * 30);
        let mut bought = std::collections::BTreeSet::new();
        for _ in 0..6 + random.below(8) {
            let kind = if random.below(10) < 8 {
                taste
            } else {
                random.below(CATALOGUE.len() as u64)
            };
            // The lower of two draws: the first of a kind are bought more often than the last.
            let place = random.below(8).min(random.below(8));
            let product = 101 + kind * 8 + place;
            if bought.insert(product) {
                seconds += 3_600 + random.below(86_400 * 5);
                let _ = writeln!(out, "{},{product},{seconds}", 1_000 + user);
            }
        }
    }
    out
}

/// SplitMix64 (Steele, Lea and Flood 2014): enough for a sample, the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}
