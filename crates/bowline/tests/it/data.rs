//! Data that a service owns, where nobody told it where that is.

use bowline::Settings;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

#[tokio::test]
async fn a_database_can_be_created_in_an_empty_folder() {
    let dir = bowline_testkit::temp_dir();
    // A folder may be called anything.
    let data_dir = dir.path().join("100% mine? yes #1");
    let vars = [("BOWLINE_DATA_DIR".to_owned(), data_dir.display().to_string())];
    let url = Settings::from_vars("user", vars).unwrap().data("sqlite:user.db").unwrap();
    let options = url.parse::<SqliteConnectOptions>().unwrap().create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("CREATE TABLE users (id TEXT)").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    assert!(data_dir.join("sqlite").join("user.db").is_file());
}

#[test]
fn a_folder_that_cannot_be_created_is_named() {
    let dir = bowline_testkit::temp_dir();
    let data_dir = dir.path().join("data");
    std::fs::write(&data_dir, "a file").unwrap();
    let vars = [("BOWLINE_DATA_DIR".to_owned(), data_dir.display().to_string())];
    let error = Settings::from_vars("user", vars).unwrap().data("sqlite:user.db").unwrap_err();
    assert_eq!(error.variable, "BOWLINE_DATA_DIR");
    assert!(error.rule.contains(&data_dir.display().to_string()), "{error}");
}
