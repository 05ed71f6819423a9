//! The service ml of the devices' system, and the commands that train its model and say how good it is.

use example_model::{Learned as _, Program};
use iot_ml::{
    model::{Metrics, Model, OfKind},
    serving,
    training::{DEVICES, Sets, evaluate, train},
};

fn main() -> anyhow::Result<()> {
    let program = Program {
        about: "Scores hours of devices by a model; trains it",
        data: "devices",
        learned_from: "healthy ones",
        unseen: "of which it has not seen the last third",
        variable: "IOT_MODEL",
        file: "examples/iot/model/anomaly.json",
        train: |seed| train(seed, DEVICES),
        evaluate: |model, seed| evaluate(model, &Sets::test_of(seed, model.data.devices)),
        print,
        router: serving::router,
    };
    program.run()
}

#[expect(clippy::print_stdout, reason = "it is what these commands are for")]
fn print(model: &Model, seed: u64, metrics: &Metrics) {
    let Metrics { roc_auc, operating, kinds } = metrics;
    println!(
        "model {} of {} trees, on devices of seed {seed} that it has not seen",
        model.version,
        model.forest().trees()
    );
    println!("ROC AUC            {roc_auc:.4}");
    println!("at threshold       {:.4}", model.threshold);
    println!("  precision        {:.4}", operating.precision);
    println!("  recall           {:.4}", operating.recall);
    println!("  flagged          {:.4}", operating.flagged);
    println!("{:<9}{:>9}{:>9}", "fault", "ROC AUC", "recall");
    for OfKind { kind, roc_auc, recall } in kinds {
        println!("{kind:<9}{roc_auc:>9.4}{recall:>9.4}");
    }
}
