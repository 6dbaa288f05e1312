package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// apiClient is what a telescope script uses: plain HTTP with a token.
type apiClient struct {
	base  string
	token string
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	detail string
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.detail) }

// get reads a path into out (nil: only whether it succeeds).
func (c apiClient) get(ctx context.Context, path string, out any) error {
	_, err := c.send(ctx, http.MethodGet, path, nil, out)
	return err
}

// send makes one request and returns the headers of a success. Headers come in
// pairs of name and value.
func (c apiClient) send(ctx context.Context, method, path string, in, out any, headers ...string) (http.Header, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	text, readErr := io.ReadAll(response.Body)
	if err := errors.Join(readErr, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode > 299 {
		return nil, fmt.Errorf("%s %s: %w", method, path, &refusal{response.StatusCode, strings.TrimSpace(string(text))})
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return nil, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
		}
	}
	return response.Header, nil
}

// bufferSize asks Redis how many transactions wait, as an operator would.
func (d *demo) bufferSize(ctx context.Context) (int, error) {
	answer, err := d.stack.Redis.Command(ctx, "LLEN", "site:"+observatorySite+":transaction_buffer")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimPrefix(answer, ":"))
}

// millis writes a duration for people.
func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
