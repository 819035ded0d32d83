package call

import (
	"maps"
	"strings"
	"testing"
	"time"
)

var headers = map[string]string{
	"Connector-Call-Id":  "b61f35f4f3634164fe83f2c703a4a1d0",
	"Connector-Attempt":  "2",
	"Connector-Step":     "before-create",
	"Connector-Deadline": "2026-11-21T02:21:02.033Z",
}

func read(changed, value, payload string) (Call, error) {
	changedHeaders := maps.Clone(headers)
	changedHeaders[changed] = value
	return Read(func(name string) string { return changedHeaders[name] }, []byte(payload))
}

func TestACallIsReadFromItsMessage(t *testing.T) {
	found, err := read("", "", `{"email": "ada@example.com", "Email": "another"}`)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Date(2026, 11, 21, 2, 21, 2, 33_000_000, time.UTC)
	if found.ID != headers["Connector-Call-Id"] || found.Attempt != 2 || found.Step != "before-create" || !found.Deadline.Equal(deadline) {
		t.Error(found)
	}
	if found.Claims["email"] != "ada@example.com" {
		t.Error(found.Claims)
	}
}

func TestWhatIsNoCallIsNotJudgedAndNotQuoted(t *testing.T) {
	for _, row := range []struct{ header, value, payload string }{
		{"", "", ""},
		{"", "", "secret"},
		{"", "", `["secret"]`},
		{"", "", `"secret"`},
		{"", "", "null"},
		{"", "", `{"email": "secret"} {}`},
		{"Connector-Deadline", "", "{}"},
		{"Connector-Deadline", "secret", "{}"},
		{"Connector-Attempt", "", "{}"},
		{"Connector-Attempt", "0", "{}"},
		{"Connector-Attempt", "secret", "{}"},
	} {
		if _, err := read(row.header, row.value, row.payload); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v", row, err)
		}
	}
}
