//! `bowline services`: every instance, where it is and how it is.

use std::process::ExitCode;

use bowline_model::Instance;

use crate::{
    api,
    args::{self, Output},
    style, table,
};

/// Lists the instances of all services, or of one.
pub(crate) async fn run(args: args::Services) -> anyhow::Result<ExitCode> {
    let client = api::client(&args.query);
    let list = api::answered(&args.query, client.instances(args.name.as_deref()).await)?;
    match args.query.output {
        Output::Json => api::print_json(&list)?,
        Output::Text if list.instances.is_empty() => style::line("no instances are registered"),
        Output::Text => {
            for line in table::lines(&["SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "VERSION"], &rows(&list.instances)) {
                style::line(&line);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(instances: &[Instance]) -> Vec<Vec<String>> {
    let mut sorted: Vec<&Instance> = instances.iter().collect();
    sorted.sort_by_key(|instance| (&instance.service, &instance.id));
    let row = |instance: &Instance| {
        vec![
            instance.service.to_string(),
            instance.id.to_string(),
            instance.address.to_string(),
            instance.health.as_str().to_owned(),
            if instance.version.is_empty() { "-".to_owned() } else { instance.version.clone() },
        ]
    };
    sorted.into_iter().map(row).collect()
}
