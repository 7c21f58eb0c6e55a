"""What keeps an identity provider from removing people by mistake: pauses, the brake and its holds, protection."""
