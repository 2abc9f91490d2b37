from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('search', '0004_turns'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='photoindexing',
            index=models.Index(models.F('index'), models.F('attempts'), models.F('priority'), models.F('owner_id'), models.F('due_at'), models.F('id'), condition=models.Q(('state', 'pending')), name='search_turns'),
        ),
        AddIndexConcurrently(
            model_name='photoindexing',
            index=models.Index(models.F('photo'), condition=models.Q(('state', 'failed')), name='search_failed'),
        ),
    ]
