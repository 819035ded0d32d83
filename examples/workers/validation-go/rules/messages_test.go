package rules

import (
	"strings"
	"testing"
)

func TestTheFirstRangeThatLeadsToALanguageWins(t *testing.T) {
	languages := messages{}
	for _, tag := range []string{"en", "de", "de-ch", "zh-hant"} {
		languages[tag] = map[string]string{"tag": tag}
	}
	for locales, wanted := range map[string]string{
		"":                      "en",
		"   ":                   "en",
		"de":                    "de",
		"DE-at":                 "de",
		"de-CH":                 "de-ch",
		"de-CH-1996":            "de-ch",
		"de-AT-1996-x-y":        "de",
		"fr-FR de-DE":           "de",
		"fr it":                 "en",
		"zh":                    "en",
		"zh-Hant-CN-x-private1": "zh-hant",
		"zh-Hant-x-a":           "zh-hant",
		"* de":                  "de",
		"-":                     "en",
		"--":                    "en",
		"-a-":                   "en",
		"de--":                  "de",
		"x-y":                   "en",
		"\x00\r\n%":             "en",
	} {
		if found := languages.in(locales)["tag"]; found != wanted {
			t.Errorf("%q: %s, not %s", locales, found, wanted)
		}
	}
}

func TestTagsHaveNoCase(t *testing.T) {
	loaded, err := loadMessages([]byte(`{"en": {"a": "A"}, "zh-Hant": {"a": "Ā"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if found := loaded.in("ZH-HANT-tw")["a"]; found != "Ā" {
		t.Error(found)
	}
}

func TestEveryLanguageHasEveryMessage(t *testing.T) {
	if _, err := loadMessages(messagesFile); err != nil {
		t.Error(err)
	}
	for file, wanted := range map[string]string{
		`{"en": {"a": "A", "b": "B"}, "de": {"a": "A"}}`: "no b in the language de",
		`{"de": {"a": "A"}}`:                             "no messages in the language en",
		`[]`:                                             "cannot unmarshal",
	} {
		if _, err := loadMessages([]byte(file)); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
