package rules

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed messages.json
var messagesFile []byte

// The language of everybody whose own there is not.
const defaultLanguage = "en"

// messages are texts by language tag, in lower case, and by name.
type messages map[string]map[string]string

func loadMessages(file []byte) (messages, error) {
	var read messages
	if err := json.Unmarshal(file, &read); err != nil {
		return nil, err
	}
	loaded := messages{}
	for tag, texts := range read {
		for name := range read[defaultLanguage] {
			if texts[name] == "" {
				return nil, fmt.Errorf("there is no %s in the language %s", name, tag)
			}
		}
		loaded[strings.ToLower(tag)] = texts
	}
	if loaded[defaultLanguage] == nil {
		return nil, fmt.Errorf("there are no messages in the language %s", defaultLanguage)
	}
	return loaded, nil
}

// in picks the language for `ui_locales`: language ranges in the order that the person prefers, with
// spaces between them. Each is looked up as RFC 4647, section 3.4, says: shortened from its end until
// there is a language of that name. (The single letters that it takes off too, as the x of en-x-a,
// end no language's name.)
func (m messages) in(locales string) map[string]string {
	for _, wanted := range strings.Fields(strings.ToLower(locales)) {
		for wanted != "" {
			if texts, found := m[wanted]; found {
				return texts
			}
			wanted = wanted[:max(strings.LastIndexByte(wanted, '-'), 0)]
		}
	}
	return m[defaultLanguage]
}
