// Package jsonl prints one JSON object a line, so that a test can follow a peer.
package jsonl

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

var mu sync.Mutex

// Fields of one line beside "event".
type Fields map[string]any

// Emit prints one line at once. It may be called from any goroutine.
func Emit(event string, fields Fields) {
	line := Fields{"event": event}
	for key, value := range fields {
		line[key] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		text = []byte(`{"event":"unprintable"}`)
	}
	mu.Lock()
	defer mu.Unlock()
	fmt.Println(string(text))
}

// Fatal prints an "error" line and ends the process with exit code 1.
func Fatal(err error) {
	Emit("error", Fields{"error": err.Error()})
	os.Exit(1)
}
