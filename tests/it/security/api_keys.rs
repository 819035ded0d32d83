//! A key in the URL, in addition to a password or a certificate.

use std::fs;

use super::{BASIC, Folder, RIGHT, Site, WRONG};

#[tokio::test]
async fn a_key_in_the_url_is_needed_in_addition_and_either_of_two_is_right() {
    let folder = Folder::new();
    fs::write(folder.0.join("old"), "k+/= 1\n").unwrap();
    fs::write(folder.0.join("new"), "zwölf%&").unwrap();
    let auth = format!(r#"{BASIC}, api_key_files: ["{{folder}}/old", "{{folder}}/new"]"#);
    let site = Site::new(folder, "", &[("c", auth)]).await;
    for query in
        ["code=k+/=%201", "code=k%2B%2f%3d%201", "a=b&code=zw%C3%B6lf%25%26&clientId=entra"]
    {
        assert_eq!(site.post(&format!("c?{query}"), RIGHT).await.status, 200, "{query}");
    }
    let asked = site.asked();
    for (query, headers, method, reason) in [
        ("", RIGHT, "api_key", "missing"),
        ("?", RIGHT, "api_key", "missing"),
        ("?Code=k%2B/=%201", RIGHT, "api_key", "missing"),
        ("?code=", RIGHT, "api_key", "wrong"),
        ("?code=k%20/=%201", RIGHT, "api_key", "wrong"),
        ("?code=k+/=+1", RIGHT, "api_key", "wrong"),
        ("?code=k+/=%201&code=k+/=%201", RIGHT, "api_key", "malformed"),
        ("?code=k+/=%201", "", "none", "missing"),
        ("?code=k+/=%201", WRONG, "basic", "wrong"),
        ("", WRONG, "basic", "wrong"),
    ] {
        let before = site.failures("c", method, reason).await;
        let answer = site.post(&format!("c{query}"), headers).await;
        site.assert_counted("c", method, reason, &answer, before).await;
        assert!(!answer.body.contains("code="), "{}", answer.body);
    }
    assert_eq!(site.asked(), asked, "nothing of it reached a worker");
}
