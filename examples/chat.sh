#!/bin/sh
# Streams one answer.
#
#   OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none examples/chat.sh MODEL "Why do tides change?"
set -eu
curl -fsSN "$OPENAI_BASE_URL/chat/completions" \
	-H "Authorization: Bearer $OPENAI_API_KEY" -H 'Content-Type: application/json' \
	-d "{\"model\": \"$1\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"$2\"}]}"
