"""The only room that knows boto3: settings, sessions, error translation, and every call of EC2."""
