package rules

import (
	"strings"
	"testing"
)

func builtIn(t *testing.T) *Rules {
	t.Helper()
	rules, err := Load(Default)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

const (
	goesOn  = "Continue"
	blocked = "ShowBlockPage"
	wrong   = "ValidationError"
)

func TestPostalCodesAreThoseOfTheCountry(t *testing.T) {
	rules := builtIn(t)
	for _, row := range []struct{ country, code, action string }{
		{"Germany", "12349", goesOn},
		{"Germany", "1234", wrong},
		{"Germany", "123490", wrong},
		{"Germany", "12349\n", goesOn},
		{"Germany", "", wrong},
		{"Germany", "   ", wrong},
		{" germany ", "12349", goesOn},
		{"DE", "SW1A 1AA", wrong},
		{"de", "12349", goesOn},
		{"AT", "1010", goesOn},
		{"Österreich", "0010", wrong},
		{"ÖSTERREICH", "0010", wrong},
		{"United Kingdom", "SW1A 1AA", goesOn},
		{"United Kingdom", "sw1a1aa", goesOn},
		{"United Kingdom", "12349", wrong},
		{"Canada", "K1A 0B1", goesOn},
		{"Canada", "D1A 0B1", wrong},
		{"NL", "2511 CS", goesOn},
		{"United States", "98052-6399", goesOn},
		{"United States", "98052-", wrong},
		{"Ireland", "whatever", goesOn},
		{"", "whatever", goesOn},
	} {
		claims := map[string]any{"email": "ada@example.com", "country": row.country, "postalCode": row.code}
		if found := rules.Decide("before-create", claims).Action; found != row.action {
			t.Errorf("%q in %q: %s, not %s", row.code, row.country, found, row.action)
		}
	}
}

func TestOnlyListedDomainsMaySignUp(t *testing.T) {
	rules := builtIn(t)
	for email, action := range map[string]string{
		"ada@example.com":                   goesOn,
		"Ada@EXAMPLE.com ":                  goesOn,
		"ada@research.example.com":          goesOn,
		"ada@a.b.example.com":               goesOn,
		"ada@example.org":                   goesOn,
		"ada@research.example.org":          blocked,
		"ada@.example.com":                  blocked,
		"ada@badexample.com":                blocked,
		"ada@example.com.evil.example":      blocked,
		"ada@example.com@evil.example":      blocked,
		"\"ada@evil\"@example.com":          goesOn,
		"ada@FABRIKAM.onmicrosoft.com":      goesOn,
		"ada@fabri\u212aam.onmicrosoft.com": blocked, // the kelvin sign
		"@example.com":                      blocked,
		"example.com":                       blocked,
		"ada@":                              blocked,
		"":                                  blocked,
	} {
		if found := rules.Decide("before-create", map[string]any{"email": email}).Action; found != action {
			t.Errorf("%q: %s, not %s", email, found, action)
		}
	}
}

func TestTheFormIsOnlyJudgedWhereItHasBeenFilledIn(t *testing.T) {
	rules := builtIn(t)
	for step, action := range map[string]string{
		"before-create": wrong, "custom": wrong, "after-federation": goesOn, "before-token": goesOn,
	} {
		claims := map[string]any{"email": "ada@example.com", "country": "Germany"}
		if found := rules.Decide(step, claims).Action; found != action {
			t.Errorf("%s: %s, not %s", step, found, action)
		}
	}
}

func TestClaimsOfAnotherTypeAreAsGoodAsMissing(t *testing.T) {
	rules := builtIn(t)
	for _, odd := range []any{nil, 12349.0, true, []any{"12349"}, map[string]any{}} {
		claims := map[string]any{"email": "ada@example.com", "country": "DE", "postalCode": odd, "ui_locales": odd}
		found := rules.Decide("before-create", claims)
		if found.UserMessage != "Please enter your postal code, for example 12349." {
			t.Errorf("%v: %v", odd, found)
		}
		if found := rules.Decide("before-create", map[string]any{"email": odd}); found.Action != blocked {
			t.Errorf("%v as an address: %v", odd, found)
		}
	}
}

func TestThePersonReadsItInTheirLanguage(t *testing.T) {
	rules := builtIn(t)
	claims := map[string]any{"email": "ada@example.com", "country": "France", "postalCode": "X", "ui_locales": "fr-CA en"}
	found := rules.Decide("before-create", claims)
	if found != (Decision{wrong, "Ce n’est pas un code postal du pays choisi. En voici un exemple : 75008."}) {
		t.Error(found)
	}
	found = rules.Decide("before-create", map[string]any{"ui_locales": "de"})
	if found != (Decision{blocked, "Die Registrierung ist für Ihre Organisation nicht freigegeben."}) {
		t.Error(found)
	}
}

func TestAPostalCodeNeedNotBeRequired(t *testing.T) {
	rules, err := Load([]byte(strings.Replace(string(Default), "required\": true", "required\": false", 1)))
	if err != nil {
		t.Fatal(err)
	}
	for code, action := range map[string]string{"": goesOn, "X": wrong} {
		claims := map[string]any{"email": "ada@example.com", "country": "DE", "postalCode": code}
		if found := rules.Decide("before-create", claims).Action; found != action {
			t.Errorf("%q: %s, not %s", code, found, action)
		}
	}
}

func TestAFileOfRulesThatCannotWorkIsNotLoaded(t *testing.T) {
	for file, wanted := range map[string]string{
		`{`:                                  "unexpected",
		`{}`:                                 "domains is empty",
		`{"domains": ["a"]} {}`:              "more than one",
		`{"domains": ["a"], "contries": []}`: "unknown field",
		`{"domains": ["a"], "countries": [{"example": "1"}]}`:                                                "no names",
		`{"domains": ["a"], "countries": [{"names": ["DE"], "postal_code": "[", "example": "1"}]}`:           "DE",
		`{"domains": ["a"], "countries": [{"names": ["DE"], "postal_code": "[0-9]", "example": "12"}]}`:      "is none",
		`{"domains": ["a"], "countries": [{"names": ["DE", "de"], "postal_code": "[0-9]", "example": "1"}]}`: "twice",
	} {
		if _, err := Load([]byte(file)); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
