//! The block page and the home test, as a browser meets them.

use reqwest::{Client, Method, StatusCode};
use serde_json::json;

use crate::world::{Api, Switch::*, World, WorldBuilder};

/// A device of the household, by its address, and the line's other devices.
const PHONE: &str = "127.0.7.7";
const OTHER: &str = "127.0.7.9";
const STRANGER: &str = "127.0.99.9";

fn builder() -> WorldBuilder {
    World::with_zone("bets.example. 300 A 192.0.2.7")
        .zone("news.example. 300 A 192.0.2.8")
        .listing("gambling", "bets.example")
        .config(
            "[dns]\nblocked_answer = \"landing\"\nlanding = [\"192.0.2.80\"]\n\
             [landing]\nhttp = [\"127.0.0.1:0\"]\napp = \"https://my.isp.example/app/\"\n\
             [app]\nname = \"Teulu & Co\"\n\
             [home_test]\nzone = \"test.isp.example\"\naddresses = [\"192.0.2.81\"]\n\
             http = [\"127.0.0.1:0\"]\n",
        )
}

async fn world() -> World {
    let world = builder().start().await;
    world.device("home", "phone", ("address", PHONE)).await;
    world.toggle("home", "gambling", Block).await;
    world
}

/// A browser at an address that opens a name, which leads to the block page.
struct Browser {
    client: Client,
    page: String,
    language: &'static str,
}

impl Browser {
    fn new(world: &World, from: &str) -> Self {
        Self {
            client: Client::builder()
                .no_proxy()
                .tls_certs_only(None)
                .local_address(from.parse::<std::net::IpAddr>().unwrap())
                .build()
                .unwrap(),
            page: world.daemon.page_url("landing"),
            language: "en-GB,en;q=0.8",
        }
    }

    fn in_welsh(self) -> Self {
        Self {
            language: "cy,en;q=0.8",
            ..self
        }
    }

    async fn open(&self, host: &str) -> (StatusCode, String) {
        let asked = self
            .client
            .get(&self.page)
            .header("host", host)
            .header("accept", "text/html,*/*;q=0.8")
            .header("accept-language", self.language);
        let answer = asked.send().await.unwrap();
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(!answer.headers().contains_key("set-cookie"));
        (answer.status(), answer.text().await.unwrap())
    }

    /// Sends a form from the page of a host.
    async fn send(
        &self,
        host: &str,
        path: &str,
        origin: &str,
        reason: &str,
    ) -> (StatusCode, String) {
        let url = format!("{}/.well-known/ox-protect/{path}", self.page);
        let form = format!("reason={}", reason.replace(' ', "+"));
        let asked = self
            .client
            .post(url)
            .header("host", host)
            .header("origin", origin)
            .header("accept-language", self.language)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = asked.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn a_blocked_name_leads_to_a_page_that_says_why() {
    let world = world().await;
    let home = world.client(PHONE);
    assert_eq!(home.ask("bets.example. A").await, "blocked: gambling");
    let (status, page) = Browser::new(&world, PHONE).open("bets.example").await;
    assert_eq!(status, 403);
    for text in [
        "This site is blocked",
        "<bdi>bets.example</bdi>",
        "Gambling",
        "Your family blocked it for this home.",
        "Ask for this site",
        "never asks for a password",
    ] {
        assert!(page.contains(text), "{text}\n{page}");
    }
    let (_, page) = Browser::new(&world, PHONE)
        .in_welsh()
        .open("bets.example")
        .await;
    assert!(page.contains("lang=\"cy\""), "{page}");
    assert!(page.contains("Gamblo"), "{page}");
    // The household's language goes before the browser's.
    let body = json!({ "locale": "cy-GB" });
    world.api.put("/v1/households/home", body).await.ok();
    let (_, page) = Browser::new(&world, PHONE).open("bets.example").await;
    assert!(page.contains("lang=\"cy\""), "{page}");
}

#[tokio::test]
async fn a_page_tells_another_home_nothing() {
    let world = world().await;
    let (status, page) = Browser::new(&world, STRANGER).open("bets.example").await;
    assert_eq!(status, 200);
    assert!(page.contains("not blocked for this home"), "{page}");
    assert!(!page.contains("family blocked"), "{page}");
    let (status, page) = Browser::new(&world, OTHER).open("bets.example").await;
    assert_eq!(status, 403);
    assert!(
        !page.contains("/ask\""),
        "an unknown device cannot ask here"
    );
    assert!(page.contains("https://my.isp.example/app/#/ask/bets.example"));
}

#[tokio::test]
async fn an_order_is_named_as_one_and_offers_no_question() {
    let world = world().await;
    let order = json!({ "name": "news.example", "basis": "court-order", "confidential": true,
                        "reference": "HC-2030-77" });
    world.api.mandate("o1", order).await.ok();
    let (status, page) = Browser::new(&world, PHONE).open("news.example").await;
    assert_eq!(status, 451);
    assert!(page.contains("An order obliges your provider"), "{page}");
    assert!(
        !page.contains("HC-2030-77") && !page.contains("/ask\""),
        "{page}"
    );
    // No category of an order can be wrong.
    assert!(!page.contains("wrong category"), "{page}");
    assert!(page.contains("the order is not about this site"), "{page}");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_page_s_language_and_truly() {
    let world = world().await;
    let ask = async |browser: &Browser, host: &str| {
        let ours = format!("http://{host}");
        browser.send(host, "ask", &ours, "please").await
    };
    let english = Browser::new(&world, PHONE);
    let welsh = Browser::new(&world, PHONE).in_welsh();
    let (status, page) = ask(&english, "news.example").await;
    assert_eq!(status, 409);
    assert!(page.contains("not blocked for this device"), "{page}");
    let (status, page) = ask(&welsh, "news.example").await;
    assert_eq!(status, 409);
    assert!(
        page.contains("Nid yw'r wefan hon wedi'i rhwystro"),
        "{page}"
    );
    assert!(!page.contains("is not blocked"), "{page}");
    // A device asks twenty times a day at most: a minute later it is refused as well.
    for number in 0..20 {
        let host = format!("a{number}.bets.example");
        assert_eq!(ask(&english, &host).await.0, 200, "{host}");
    }
    let (status, page) = ask(&english, "b.bets.example").await;
    assert_eq!(status, 429);
    assert!(page.contains("ask again tomorrow"), "{page}");
    assert!(!page.contains("minute"), "{page}");
    let (_, page) = ask(&welsh, "b.bets.example").await;
    assert!(page.contains("gofynnwch eto yfory"), "{page}");
}

#[tokio::test]
async fn a_device_without_a_name_has_no_person_on_the_page() {
    let world = world().await;
    world.toggle("home", "gambling", Allow).await;
    let rules = "/v1/households/home/people/unknown-devices/categories/gambling";
    world.api.put(rules, json!({ "state": "block" })).await.ok();
    let (status, page) = Browser::new(&world, OTHER).open("bets.example").await;
    assert_eq!(status, 403);
    assert!(page.contains("for devices that it has not named"), "{page}");
    assert!(!page.contains("the person who"), "{page}");
}

#[tokio::test]
async fn a_child_asks_on_the_page_and_a_parent_answers() {
    let world = world().await;
    let browser = Browser::new(&world, PHONE);
    let host = "bets.example";
    let ours = "http://bets.example";
    let (status, page) = browser.send(host, "ask", ours, "for school").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("Your question is with your parents"));
    let requests = world.api.get("/v1/households/home/requests").await.ok();
    let request = &requests.json["requests"][0];
    assert_eq!(request["name"], "bets.example");
    assert_eq!(request["device"], "phone");
    assert_eq!(request["reason"], "for school");
    assert_eq!(request["categories"], json!(["gambling"]));
    let path = format!(
        "/v1/households/home/requests/{}",
        request["id"].as_str().unwrap()
    );
    let answer = json!({ "answer": "allow", "minutes": 60 });
    world.api.put(&path, answer).await.ok();
    assert_eq!(
        world.client(PHONE).ask("bets.example. A").await,
        "192.0.2.7"
    );
    assert_eq!(
        world.client(OTHER).ask("bets.example. A").await,
        "blocked: gambling"
    );
}

#[tokio::test]
async fn another_site_cannot_send_the_forms() {
    let world = world().await;
    let browser = Browser::new(&world, PHONE);
    for origin in ["http://evil.example", "null"] {
        for form in ["ask", "report"] {
            let (status, _) = browser.send("bets.example", form, origin, "x").await;
            assert_eq!(status, 403, "{form} from {origin}");
        }
    }
    let requests = world.api.get("/v1/households/home/requests").await.ok();
    assert_eq!(requests.json["requests"], json!([]));
    let reports = world.api.get("/v1/reports").await.ok();
    assert_eq!(reports.json["reports"], json!([]));
    let (status, page) = browser
        .send(
            "bets.example",
            "report",
            "http://bets.example",
            "it is a shop",
        )
        .await;
    assert_eq!(status, 200, "{page}");
    let reports = world.api.get("/v1/reports").await.ok();
    assert_eq!(reports.json["reports"][0]["name"], "bets.example");
}

#[tokio::test]
async fn parts_of_pages_and_hostile_hosts_get_no_page() {
    let world = world().await;
    let browser = Browser::new(&world, PHONE);
    let picture = browser
        .client
        .get(&browser.page)
        .header("host", "bets.example");
    let answer = picture
        .header("accept", "image/avif,*/*;q=0.8")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.text().await.unwrap(), "");
    for host in ["192.0.2.80", "a..b", "[2001:db8::1]"] {
        let (status, page) = browser.open(host).await;
        assert_eq!(status, 200, "{host}");
        assert!(
            page.contains("the block page of your Internet provider"),
            "{page}"
        );
        assert!(page.contains(" – Teulu &amp; Co</title>"), "{page}");
    }
    let method = browser.client.request(Method::PUT, &browser.page);
    assert_eq!(method.send().await.unwrap().status(), 403);
}

async fn expected(world: &World, from: &str) -> serde_json::Value {
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only(None)
        .local_address(from.parse::<std::net::IpAddr>().unwrap())
        .build()
        .unwrap();
    let url = format!("{}/v1/home-test", world.daemon.addresses().api_url());
    let text = client.get(url).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn each_category_has_a_test_name_that_its_rules_decide() {
    let world = world().await;
    let phone = world.client(PHONE);
    let stranger = world.client(STRANGER);
    assert_eq!(
        phone.ask("gambling.test.isp.example. A").await,
        "blocked: gambling"
    );
    assert_eq!(
        stranger.ask("gambling.test.isp.example. A").await,
        "192.0.2.81"
    );
    assert_eq!(phone.ask("open.test.isp.example. A").await, "192.0.2.81");
    let blocked = |told: &serde_json::Value, slug: &str| {
        let tests = told["categories"].as_array().unwrap();
        let test = tests.iter().find(|test| test["slug"] == slug).unwrap();
        assert_eq!(test["name"], format!("{slug}.test.isp.example"));
        test["is_blocked"].as_bool().unwrap()
    };
    let told = expected(&world, PHONE).await;
    assert_eq!(told["is_household"], true);
    assert_eq!(told["is_device"], true);
    assert!(blocked(&told, "gambling"));
    assert!(!blocked(&told, "news"));
    let told = expected(&world, STRANGER).await;
    assert_eq!(told["is_household"], false);
    assert!(!blocked(&told, "gambling"));
    // What a browser does with a name that is not blocked.
    let port = world.daemon.page_url("home test");
    let open = told["open"]["http"].as_str().unwrap();
    assert!(port.ends_with(open.trim_end_matches('/').rsplit(':').next().unwrap()));
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only(None)
        .build()
        .unwrap();
    let answer = client.get(port).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    // The next test asks for the name again, and for the connection.
    assert_eq!(answer.headers()["connection"], "close");
    let answer = phone.reply("open.test.isp.example. A").await.unwrap();
    assert_eq!(answer.answer_ttl_s(), Some(0));
}

#[tokio::test]
async fn the_home_test_says_if_a_rule_blocks_its_open_name() {
    let world = world().await;
    let phone = world.client(PHONE);
    let home = "/v1/households/home";
    let open = async || {
        let told = expected(&world, PHONE).await["open"].clone();
        (told["is_blocked"].as_bool().unwrap(), told["layer"].clone())
    };
    assert_eq!(open().await, (false, json!(null)));
    let pause = format!("{home}/pause");
    world.api.put(&pause, json!({ "minutes": 30 })).await.ok();
    assert_eq!(open().await, (true, json!("paused")));
    assert_ne!(phone.ask("open.test.isp.example. A").await, "192.0.2.81");
    world.api.delete(&pause).await.ok();
    let own = format!("{home}/names/isp.example");
    world.api.put(&own, json!({ "state": "block" })).await.ok();
    assert_eq!(open().await, (true, json!("household-deny")));
    world.api.delete(&own).await.ok();
    let thing = format!("{home}/devices/phone/thing");
    world
        .api
        .put(&thing, json!({ "mode": "locked" }))
        .await
        .ok();
    assert_eq!(open().await, (true, json!("thing")));
    world.api.put(&thing, json!({ "mode": "off" })).await.ok();
    assert_eq!(open().await, (false, json!(null)));
    assert_eq!(phone.ask("open.test.isp.example. A").await, "192.0.2.81");
}

#[tokio::test]
async fn without_a_home_test_its_route_says_so() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let api: &Api = &world.api;
    let answer = api.get("/v1/home-test").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.problem(), "unknown_home_test");
}
