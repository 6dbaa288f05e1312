// Package auth decides who is asking and what they may do.
package auth
