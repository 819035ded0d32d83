// Package call reads what the bridge asks. It knows nothing of NATS.
package call

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// Call is what is to be decided.
type Call struct {
	ID       string
	Attempt  int
	Step     string
	Deadline time.Time
	Claims   map[string]any
}

// Read reads a message. Its errors quote nothing of it, since claims must not be logged.
func Read(header func(string) string, payload []byte) (Call, error) {
	deadline, err := time.Parse(time.RFC3339, header("Connector-Deadline"))
	if err != nil {
		return Call{}, errors.New("Connector-Deadline is no time")
	}
	attempt, err := strconv.Atoi(header("Connector-Attempt"))
	if err != nil || attempt < 1 {
		return Call{}, errors.New("Connector-Attempt is no number from 1 up")
	}
	// A map and no struct: encoding/json would take "Email" for a field `json:"email"`.
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil || claims == nil {
		return Call{}, errors.New("the claims are no JSON object")
	}
	return Call{
		ID:       header("Connector-Call-Id"),
		Attempt:  attempt,
		Step:     header("Connector-Step"),
		Deadline: deadline,
		Claims:   claims,
	}, nil
}
