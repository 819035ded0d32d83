// Package rules decides whether what a person typed will do, and says so in the person's language.
// It knows nothing of NATS.
package rules

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Default is the file of rules that is built in, to be tried and to be copied.
//
//go:embed rules.json
var Default []byte

// Rules are the rules of one file. They do not change and may be used by many at once.
type Rules struct {
	domains            []string // in lower case; "*.example.com" is any domain below example.com
	postalCodeRequired bool
	countries          map[string]country // by each of its names, in lower case
	messages           messages
}

type country struct {
	postalCode *regexp.Regexp
	example    string // of a postal code
}

// Decision is what a worker replies.
type Decision struct {
	Action      string `json:"action"`
	UserMessage string `json:"userMessage,omitempty"`
}

// Load reads a file of rules. An error says what is wrong with it.
func Load(file []byte) (*Rules, error) {
	var read struct {
		Domains            []string `json:"domains"`
		PostalCodeRequired bool     `json:"postal_code_required"`
		Countries          []struct {
			Names      []string `json:"names"`
			PostalCode string   `json:"postal_code"`
			Example    string   `json:"example"`
		} `json:"countries"`
	}
	decoder := json.NewDecoder(bytes.NewReader(file))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("there is more than one JSON value")
	}
	if len(read.Domains) == 0 {
		return nil, errors.New("domains is empty: nobody could sign up")
	}
	messages, err := loadMessages(messagesFile)
	if err != nil {
		return nil, err
	}
	rules := &Rules{
		postalCodeRequired: read.PostalCodeRequired,
		countries:          map[string]country{},
		messages:           messages,
	}
	for _, domain := range read.Domains {
		rules.domains = append(rules.domains, foldedDomain(domain))
	}
	for _, each := range read.Countries {
		if len(each.Names) == 0 {
			return nil, fmt.Errorf("the country with the example %q has no names", each.Example)
		}
		postalCode, err := regexp.Compile("^(?:" + each.PostalCode + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", each.Names[0], err)
		}
		if !postalCode.MatchString(each.Example) {
			return nil, fmt.Errorf("%s: the example %q is none", each.Names[0], each.Example)
		}
		for _, name := range each.Names {
			if _, twice := rules.countries[folded(name)]; twice {
				return nil, fmt.Errorf("%s: %q stands twice", each.Names[0], name)
			}
			rules.countries[folded(name)] = country{postalCode, each.Example}
		}
	}
	return rules, nil
}

// Decide judges what was posted at a step. It has no effects: the same claims get the same decision
// at every attempt, for as long as the rules stay.
func (r *Rules) Decide(step string, claims map[string]any) Decision {
	say := r.messages.in(text(claims, "ui_locales"))
	if !r.allows(text(claims, "email")) {
		// The address was verified before the form, so nothing there could be corrected.
		return Decision{"ShowBlockPage", say["domain_not_allowed"]}
	}
	if !formIsThere(step) {
		return Decision{Action: "Continue"}
	}
	country, known := r.countries[folded(text(claims, "country"))]
	if !known {
		return Decision{Action: "Continue"}
	}
	switch code := strings.ToUpper(strings.TrimSpace(text(claims, "postalCode"))); {
	case code == "" && !r.postalCodeRequired:
		return Decision{Action: "Continue"}
	case code == "":
		return invalid(say["postal_code_missing"], country)
	case !country.postalCode.MatchString(code):
		return invalid(say["postal_code_wrong"], country)
	default:
		return Decision{Action: "Continue"}
	}
}

// allows says whether somebody with this address may sign up. Nobody may without an address.
func (r *Rules) allows(email string) bool {
	at := strings.LastIndexByte(email, '@')
	if at < 1 {
		return false
	}
	domain := foldedDomain(email[at+1:])
	for _, allowed := range r.domains {
		parent, isWildcard := strings.CutPrefix(allowed, "*")
		if domain == allowed || isWildcard && strings.HasSuffix(domain, parent) && domain != parent {
			return true
		}
	}
	return false
}

// formIsThere says whether the person has filled in the form when this step comes. After federation
// it is still empty, and before the token it is long gone.
func formIsThere(step string) bool {
	return step == "before-create" || step == "custom"
}

func invalid(message string, country country) Decision {
	return Decision{"ValidationError", strings.ReplaceAll(message, "{example}", country.example)}
}

// text is a claim that is a string, and empty where it is missing or is none.
func text(claims map[string]any, name string) string {
	value, _ := claims[name].(string)
	return value
}

// foldedDomain is how domains are compared. Letters beyond ASCII stay as they are: the small letter of
// the kelvin sign is a k, and would let in people of another domain.
func foldedDomain(domain string) string {
	small := func(letter rune) rune {
		if 'A' <= letter && letter <= 'Z' {
			return letter + 'a' - 'A'
		}
		return letter
	}
	return strings.Map(small, strings.TrimSpace(domain))
}

// folded is how names of countries are compared.
func folded(name string) string {
	return strings.ToLower(strings.TrimSpace(name))
}
