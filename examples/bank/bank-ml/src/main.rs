//! The bank's ml service, and the commands that train its model and say how good it is.

use bank_ml::{
    model::{Metrics, Model},
    serving,
    training::{ACCOUNTS, Spans, evaluate, train},
};
use example_model::{Learned as _, Program};

fn main() -> anyhow::Result<()> {
    let program = Program {
        about: "Scores transfers by a model; trains it",
        data: "transfers",
        learned_from: "them",
        unseen: "whose last 30 days it has not seen",
        variable: "BANK_MODEL",
        file: "examples/bank/model/fraud.json",
        train: |seed| train(seed, ACCOUNTS),
        evaluate: |model, seed| evaluate(model, &Spans::of(seed, model.data.accounts).test),
        print,
        router: serving::router,
    };
    program.run()
}

#[expect(clippy::print_stdout, reason = "it is what these commands are for")]
fn print(model: &Model, seed: u64, metrics: &Metrics) {
    let Metrics { roc_auc, average_precision, operating } = metrics;
    println!("model {} of {} trees, on the last 30 days of seed {seed}", model.version, model.forest().trees());
    println!("ROC AUC            {roc_auc:.4}");
    println!("average precision  {average_precision:.4}");
    println!("at threshold       {:.4}", model.threshold);
    println!("  precision        {:.4}", operating.precision);
    println!("  recall           {:.4}", operating.recall);
    println!("  denied           {:.4}", operating.denied);
}
